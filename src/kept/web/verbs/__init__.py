"""What the page can change: one class for each verb, with its plan and how to undo it."""
