import itertools

import pytest

import kept


@pytest.fixture
def log():
    """Log a version of new content."""
    numbers = itertools.count()

    def log(store, name="m", **options):
        content = kept.MemoryFile("f", [b"content %d" % next(numbers) * 100])
        return store.log_artifact(name, content, **options)

    return log
