"""From a save request to a committed version and a file at filepath."""
