"""A rank that is killed at any moment of a save leaves whole versions, and the other one ends."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

import kept
from kept.digest import digest
from tests.helpers import finish, start
from tests.training.shared.saving import SECONDS

ROOT = str(Path(__file__).parents[3])
MOMENTS = 20
LIMIT = 2 * SECONDS + 60  # seconds; a follower waits twice as long as the first rank


def begin(store, folder, first, count):
    folder.mkdir()
    code = f"import sys; sys.path.insert(0, {ROOT!r}); from tests.training.shared import saving; "
    call = f"{code}saving.main({store!r}, {str(folder)!r}, "
    return [start(f"{call}{rank}, {first}, {count})") for rank in (0, 1)]


@pytest.mark.integration
@pytest.mark.parametrize("killed", [0, 1])
def test_each_moment(killed, tmp_path):
    location, moments, number = str(tmp_path / "store"), random.Random(killed), 0
    store = kept.open_store(location)
    store.create()
    for moment in range(MOMENTS):
        ranks = begin(location, tmp_path / f"messages{moment}", number, 1000)
        for rank in ranks:
            assert rank.line() == "ready\n"
        for _ in range(moments.randint(0, 2)):
            ranks[killed].line()  # of a save
        time.sleep(moments.uniform(0, 0.1))
        ranks[killed].kill()
        began = time.monotonic()
        out, _ = ranks[1 - killed].communicate(timeout=LIMIT)
        assert f"rank {killed} of 2 did not answer" in ranks[1 - killed].said(), out
        assert time.monotonic() - began < LIMIT
        number = check(store, tmp_path) + 1
    for rank in begin(location, tmp_path / "last", number, 1):
        assert finish(rank)[0] == "ready"
    check(store, tmp_path)
    assert len(store.versions("m")) > MOMENTS // 2


def check(store, folder) -> int:
    """Check every version of a store; return the number of the last save that is one."""
    assert store.verify().problems == []
    versions = kept.open_store(store.location).versions("m") if store.artifacts() else []
    if not versions:
        return -1
    newest = versions[-1]
    file = newest.download(folder / "out") / "m.keras"
    assert digest(file.read_bytes()) == newest.metadata["digest"]
    return newest.metadata["number"]
