"""`python -m kept` is the command `kept`."""

from kept.cli.main import main

if __name__ == "__main__":
    main()
