"""The key-value stores over which the processes of a run exchange values."""
