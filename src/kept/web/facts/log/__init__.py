"""What the page of the log shows: changes of all artifacts in one order, and how to undo them."""
