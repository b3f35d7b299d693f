"""kept compact."""

from __future__ import annotations


def test_compact_says_what_it_has_done(run, trained):
    assert "blobs compacted: " in run("compact", "m").stdout
    assert run("compact").stdout == "Nothing to compact.\n"
    assert run.json("compact")["blobs"] == 0
    run("compact", "nothing", exit=3)
    assert trained.verify().ok
