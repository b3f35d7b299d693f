"""What docs/provenance.md shows runs, in the order of the page."""

from __future__ import annotations

import re
import shlex

from click.testing import CliRunner

from kept.cli import lineage
from kept.cli.main import cli
from tests.test_docs import blocks


def test_the_page_runs_and_prints_what_it_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KEPT_STORE", raising=False)
    monkeypatch.setattr(lineage, "_has_utf8", lambda: True)
    (tmp_path / "model.keras").write_bytes(bytes(1000))
    names: dict[str, object] = {}
    for language, _, text in blocks("docs/provenance.md"):
        if language == "python":
            exec(compile(text, "docs/provenance.md", "exec"), names)
            continue
        line, _, shown = text.removeprefix("$ ").partition("\n")
        result = CliRunner().invoke(cli, shlex.split(line)[1:], prog_name="kept")
        assert result.exit_code == 0, (line, result.output)
        if shown:
            times = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d")
            assert times.sub("", result.stdout) == times.sub("", shown + "\n")
