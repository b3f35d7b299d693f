"""The figures of the suites, and the table of all of them at the end."""

from __future__ import annotations

import json
import os
import random
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.reliability.cases import Ended

FOLDER = Path(os.environ.get("KEPT_RELIABILITY", "build/reliability"))
# Each of these must be zero.
BAD = (
    "lost", "wrong", "silent", "taken along", "unclear", "misreported", "doubled", "disordered",
    "false ok", "false damage", "tracebacks", "hangs",
)  # fmt: skip
COLUMNS = ("cases", "tried", "survived", "refused", *BAD, "exceptions", "built on")


class Tally:
    """Counts of a suite, and a description of each bad outcome."""

    def __init__(self, suite: str, *, is_shown: bool = False) -> None:
        """With is_shown, print each bad outcome at once."""
        self.suite, self.is_shown = suite, is_shown
        self.clear()

    def clear(self) -> None:
        """Forget what was counted."""
        self.cases = self.tried = self.survived = self.refused = 0
        self.bad: Counter[str] = Counter()
        self.notes: list[tuple[str, str]] = []

    def add(self, outcome: str, what: str) -> None:
        """Count an outcome that has to be described."""
        self.bad[outcome] += 1
        self.notes.append((outcome, what))
        if self.is_shown:
            print(f"{outcome.upper()}: {what}", flush=True)

    def merge(self, other: dict[str, Any]) -> None:
        """Add what a child has counted."""
        counts = other["counts"]
        self.cases += counts["cases"]
        self.tried += counts["tried"]
        self.survived += counts["survived"]
        self.refused += counts["refused"]
        for outcome, what in other["notes"]:
            self.add(outcome, what)

    def take(self, every: Iterable[Ended]) -> None:
        """Add the results of cases as they end; an error of a case counts as a traceback."""
        for ended in every:
            if ended.error:
                self.add("tracebacks", f"{ended.case}: the case itself: {ended.error}")
            else:
                self.merge(ended.result)

    def as_json(self) -> dict[str, Any]:
        """Return the counts and the notes."""
        counts = {"cases": self.cases, "tried": self.tried, "survived": self.survived,
                  "refused": self.refused}  # fmt: skip
        return {
            "suite": self.suite,
            "counts": counts | dict(self.bad),
            "notes": self.notes,
        }

    @property
    def ok(self) -> bool:
        """Whether something was tried and nothing bad happened."""
        return bool(self.tried) and not any(self.bad[outcome] for outcome in BAD)

    def details(self, most: int = 10_000) -> str:
        """Return the descriptions of what is bad."""
        return "\n".join(f"{outcome.upper()}: {what}" for outcome, what in self.notes[:most])

    def save(self, form: str) -> None:
        """Write the counts to a file, for the table."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / f"{self.suite}-{form}.json").write_text(json.dumps(self.as_json()))


def chosen(every: list[Any], options: list[str], short: int = 0) -> list[Any]:
    """Return the cases that the options of a suite select.

    short is the number of random cases with --short, N that with --some=N. A word keeps the cases
    whose text has it.
    """
    most = short if "--short" in options else 0
    for option in options:
        if option.startswith("--some="):
            most = int(option.removeprefix("--some="))
    words = [option for option in options if not option.startswith("--")]
    found = [case for case in every if all(word in str(case) for word in words)]
    return random.Random(6).sample(found, most) if 0 < most < len(found) else found


def report(tally: Tally, options: list[str]) -> int:
    """Print the counts of a suite and save them for the table; return the exit code."""
    print(json.dumps(tally.as_json()["counts"], indent=1))
    words = [o for o in options if not o.startswith("--") and not o.isdecimal()]
    if not words:  # then it was not only some cases
        some = any(o.startswith("--some=") for o in options)
        tally.save("short" if "--short" in options else "some" if some else "long")
    return 0 if tally.ok else 1


def table(form: str) -> str:
    """Return the table of the suites that have run in this form, short or long."""
    rows = [("suite", *COLUMNS)]
    for path in sorted(FOLDER.glob(f"*-{form}.json")):
        found = json.loads(path.read_text())
        rows.append((found["suite"], *(str(found["counts"].get(c, 0)) for c in COLUMNS)))
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            c.ljust(w) if not n else c.rjust(w)
            for n, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


if __name__ == "__main__":
    print(table(sys.argv[1] if len(sys.argv) > 1 else "long"))
