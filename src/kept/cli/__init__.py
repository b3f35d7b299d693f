"""The command `kept`: looks at a store, and changes it. main.py is where it starts."""
