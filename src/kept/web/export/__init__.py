"""Writes the pages to files: for a web server, or to send to a colleague."""
