"""What the tests of saves by several ranks share."""

import pytest

from kept.bucket.memory import MemoryBucket
from kept.store.store import Store
from tests.training.shared.ranks import usual_model


@pytest.fixture(scope="module")
def trained():
    return usual_model()


@pytest.fixture
def store():
    return Store(MemoryBucket())
