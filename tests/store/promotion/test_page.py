"""What docs/promotion.md shows runs, in the order of the page."""

from __future__ import annotations

import shlex

from click.testing import CliRunner

from kept.cli.main import cli
from tests.test_docs import blocks


def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KEPT_STORE", raising=False)
    names: dict[str, object] = {}
    shown = []
    for language, _, text in blocks("docs/promotion.md"):
        if language == "python":
            exec(compile(text, "docs/promotion.md", "exec"), names)
            continue
        for line in text.splitlines():
            result = CliRunner().invoke(cli, shlex.split(line)[1:], prog_name="kept")
            assert result.exit_code == 0, (line, result.output)
            shown.append(result.stdout)
    assert "mnist:prod is mnist:v1 (was mnist:v3)\n" in shown
    assert any("prod promoted to v3 (was v2): fewer errors on 4 and 9" in text for text in shown)
