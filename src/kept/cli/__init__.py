"""The command `kept`: looks at a store, and changes it. It starts in main.py."""
