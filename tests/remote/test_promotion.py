"""Promotions and protected aliases in object storage, and what they cost."""

from __future__ import annotations

import json

import pytest

import kept
from kept.errors import AliasProtected, ConditionNotMet
from tests.helpers import finish, start

COMMAND = "from kept.cli.main import main; main()"


def put(store, content, **options):
    return store.log_artifact("m", kept.MemoryFile("f", [content]), capture=False, **options)


def test_in_s3_and_through_a_mirror(s3, tmp_path):
    here = kept.open_store(tmp_path / "store")
    for n in range(4):
        put(here, b"%d" % n, metadata={"acc": n / 10})
    here.protect("prod")
    here.promote("m:v1", "prod", message="first")
    said = finish(start(COMMAND, "sync", here.location, s3))
    assert any("the alias prod is protected" in line for line in said)
    there = kept.open_store(s3)
    assert there.protected() == ["prod"]
    with pytest.raises(AliasProtected):
        there.set_alias("m:v2", "prod")
    with pytest.raises(AliasProtected):
        there.delete("m:v1", force=True)
    with pytest.raises(ConditionNotMet, match=r"acc = 0\.2"):
        there.promote("m:v2", "prod", condition="acc > 0.25")
    assert there.promote("m:v3", "prod", condition="acc > 0.25").index == 3
    finish(start(COMMAND, "sync", s3, here.location))
    assert here.version("m:prod").index == 3
    assert here.rollback("m:prod").index == 1
    [newest] = json.loads("".join(finish(start(
        COMMAND, "--store", s3, "log", "m", "--json", "--limit", "1",
    ))))  # fmt: skip
    assert newest["text"] == "prod promoted to v3 (was v1), if acc > 0.25"


def test_requests_for_protected_aliases(proxy, s3):
    """A commit asks once or twice for each alias that people move, and for no other."""
    store = kept.open_store(s3)
    put(store, b"0", aliases=["epoch_0", "best"])

    def asked(work):
        with proxy.counted() as made:
            work()
        return len(made), sum("/protected/" in str(request) for request in made)

    plain, none = asked(lambda: put(store, b"1"))
    assert (asked(lambda: put(store, b"2", aliases=["epoch_2"])), none) == ((plain, 0), 0)
    # best may be moved by a rule, which is looked for before any byte is stored.
    assert asked(lambda: put(store, b"2b", aliases=["best"])) == (plain + 1, 0)
    assert asked(lambda: put(store, b"3", aliases=["own"])) == (plain + 2, 2)
    assert asked(lambda: store.delete("m:v1"))[1] == 0
    assert asked(lambda: store.promote("m:v2", "prod"))[1] == 0
    assert asked(lambda: store.set_alias("m:v0", "prod"))[1] == 1
