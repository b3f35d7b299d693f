import pytest

from kept.bucket.memory import MemoryBucket
from tests.bucket.bucket_contract import BucketContract


class TestMemoryBucket(BucketContract):
    @pytest.fixture
    def bucket(self):
        return MemoryBucket()
