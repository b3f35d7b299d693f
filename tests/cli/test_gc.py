"""kept gc."""

from __future__ import annotations

from tests.helpers import write


def test_gc_lists_versions_in_their_order(run, store, tmp_path):
    for n in range(3, 12):
        store.log_artifact("mnist", write(tmp_path / "f", b"%d" % n * 1000))
    for n in (10, 9, 0):
        run("rm", f"mnist:v{n}", "--force")
    lines = run("gc", "--grace", "0s").stdout.splitlines()
    assert [line.partition(",")[0] for line in lines[:-1]] == ["mnist:v0", "mnist:v9", "mnist:v10"]
