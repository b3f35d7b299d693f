"""Prints the table of the suites after the tests."""

from __future__ import annotations

from tests.reliability.table import table


def pytest_terminal_summary(terminalreporter, config):
    form = "long" if config.getoption("-m") == "integration" else "short"
    found = table(form)
    if len(found.splitlines()) > 1:
        terminalreporter.section(f"reliability, {form} form")
        terminalreporter.write_line(found)
