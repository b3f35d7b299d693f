"""Programs for the maintainers of kept: `make docs` and `make dist` run them."""
