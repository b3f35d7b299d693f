"""The data of a fit, and how a resumed run finds its position in it."""
