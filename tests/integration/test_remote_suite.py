"""The suite of faults between kept and object storage, on Ceph."""

from __future__ import annotations

import pytest

from tests.reliability.test_suites import run


@pytest.mark.timeout(2 * 3600)
def test_faults_in_front_of_ceph(ceph):
    run(
        "remote", "--given", "--some=300", "--seconds=60",
        AWS_ENDPOINT_URL=ceph.endpoint, AWS_ACCESS_KEY_ID=ceph.KEY_ID,
        AWS_SECRET_ACCESS_KEY=ceph.SECRET, AWS_REGION="us-east-1",
    )  # fmt: skip
