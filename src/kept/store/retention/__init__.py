"""Which versions stay, and the deletion of the others."""
