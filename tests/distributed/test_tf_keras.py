"""MultiWorkerMirroredStrategy on tf_keras: all workers read, and the first one writes."""

from __future__ import annotations

import pytest

from tests.distributed.processes import succeed

SAVES = {"whole": 4, "old": 3, "weights": 3, "tf": 3, "saved": 3}


@pytest.mark.integration
def test_versions_of_every_format_hold_what_all_workers_have(tmp_path):
    pytest.importorskip("tf_keras")
    first, second = succeed(2, "tf_keras_fit.py", tmp_path)
    for one in (first, second):
        assert (one["averages"], one["others"], one["alone"]) == (True, False, False)
        norm = ["batch_normalization/moving_mean:0", "batch_normalization/moving_variance:0"]
        assert one["read"] == [*norm, *["total:0", "count:0"] * 2]  # the metrics are also such
        assert one["trained"] == first["trained"]
    assert first["committed"] == SAVES
    assert second["committed"] == dict.fromkeys(SAVES, 0)
    assert second["files"] == []
    assert {name: len(found) for name, found in first["versions"].items()} == SAVES
    assert first["versions"]["whole"] == [[0, 2], [1, 1], [2, 0], [2, 3]]
    assert first["loaded"] == dict.fromkeys(SAVES, first["trained"])
