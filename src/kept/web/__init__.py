"""The page: a store in a browser."""
