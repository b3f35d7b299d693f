"""One module for each page: what it shows, as a Page."""
