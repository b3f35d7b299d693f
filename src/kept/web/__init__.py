"""The page: a store in a browser.

A page is a value: a function of `pages/` takes a `Reader`, the `Query` of the address and the parts
of the path, and returns a `Page`. `app.py` answers requests with pages, and `export.py` writes the
same pages to files.
"""
