"""kept ttl."""

from __future__ import annotations

import re


def indexes(store):
    return [version.index for version in store.versions("mnist")]


def test_ttl_and_prune_without_rules(run, store):
    text = run("ttl", "mnist:v0", "7d").stdout
    assert re.fullmatch(r"mnist:v0 expires 20\d\d-\d\d-\d\d \d\d:\d\d\n", text)
    run("prune", "mnist")
    assert indexes(store) == [0, 1, 2]
    assert run.json("ttl", "mnist:v0", "0s")["expires"] is not None
    run("prune", "mnist")
    assert indexes(store) == [1, 2]
    assert run("ttl", "mnist:v2", "--remove").stdout == "mnist:v2 never expires\n"
    run("ttl", "mnist:v2", exit=2)
    run("ttl", "mnist:v2", "soon", exit=2)
