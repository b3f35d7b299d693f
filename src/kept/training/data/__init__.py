"""The data of a fit, and how a position in it is found again."""
