"""Damages every file of a store in every way, and repairs it: with its mirror, and without.

`python -m tests.reliability.repairing` runs everything; with --short, some of it.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import kept
from kept.errors import KeptError
from tests.helpers import tree
from tests.reliability import corruption, damage, subjects
from tests.reliability.cases import Hang, in_memory, limited, run
from tests.reliability.commands import HANG, TRACEBACK
from tests.reliability.commands import kept as command
from tests.reliability.table import Tally, chosen, report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.reliability.subjects import Subject


class Case(NamedTuple):
    fault: corruption.Case
    has_mirror: bool

    def __str__(self) -> str:
        return f"{self.fault}, {'with its mirror' if self.has_mirror else 'alone'}"


def cases(subject: Subject) -> Iterator[Case]:
    for fault in corruption.cases(subject):
        if fault.key in subject.files():
            yield from (Case(fault, has_mirror) for has_mirror in (True, False))


class Judge:
    """Repairs one damaged store, and compares it with the healthy one."""

    def __init__(self, subject: Subject, case: Case) -> None:
        self.subject, self.case = subject, case
        self.tally = Tally("repair")
        self.tally.cases = self.tally.tried = 1
        self.store = Path("store")
        fault = case.fault
        path = self.store / fault.key
        other = subjects.sibling(subject, fault.key) if fault.damage == "swap" else None
        self.damaged = {fault.key, *([other] if other else [])}
        damage.apply(fault.damage, path, self.store / other if other else None)
        self.found = path.read_bytes() if self.leaves_bytes() else b""

    def leaves_bytes(self) -> bool:
        return self.case.fault.damage in ("cut", "grown", "first bit", "middle bit", "random")

    def note(self, outcome: str, what: str) -> None:
        self.tally.add(outcome, f"{self.case}: {what}")

    def run(self) -> dict[str, Any]:
        args = ("repair", "--yes", *(("--from", "mirror") if self.case.has_mirror else ()))
        answer = command(*args)
        self.said = f" (repair: exit {answer.code}: {answer.text[-500:]})"
        if answer.code == HANG:
            self.note("hangs", "repair")
        elif answer.code == TRACEBACK:
            self.note("tracebacks", answer.text)
        elif answer.code == 0:
            self.tally.survived += 1
        else:
            self.tally.refused += 1
        if answer.code in (0, 4):
            self.check()
        else:
            self.note("unclear", self.said)
        return self.tally.as_json()

    def check(self) -> None:
        lost = self.may_be_lost()
        for name in sorted(self.subject.contents):
            self.check_version(name, may_be_lost=name in lost)
        if self.case.has_mirror:
            self.check_same()
        verified = command("verify")
        if verified.code != 0 and not lost:
            self.note("lost", f"verify after the repair: {verified.text[-500:]}{self.said}")
        self.check_kept()
        self.check_growth()
        if tree(Path("mirror")) != self.mirror:
            self.note("wrong", "the repair changed the mirror")

    def may_be_lost(self) -> set[str]:
        """Return the versions whose bytes no longer exist anywhere."""
        fault = self.case.fault
        is_content = subjects.kind(fault.key) in ("blob", "manifest")
        needed_keys = set[str]().union(*self.subject.needs.values())
        # Repair looks for the bytes of a needed file under the names of other needed files only.
        is_findable = fault.damage == "swap" and self.damaged <= needed_keys
        if not self.case.has_mirror and is_content and not is_findable:
            needs = self.subject.needs.items()
            return {name for name, needed in needs if needed & self.damaged}
        is_last = fault.damage == "delete" and not self.case.has_mirror
        if is_last and not self.is_noticed():
            return {name for name, needed in self.subject.needs.items() if fault.key in needed}
        return set()

    def is_noticed(self) -> bool:
        """Return whether the store shows that a record is missing: by a later one, or a receipt."""
        folder, is_record, _ = self.case.fault.key.rpartition("/log/")
        records = [k for k in self.subject.files() if k.startswith(f"{folder}/log/")]
        return not is_record or self.case.fault.key != max(records) or self.subject.has_mirror

    def check_version(self, name: str, *, may_be_lost: bool) -> None:
        target = Path("got")
        try:
            with limited():
                kept.open_store("store").version(name).download(target)
            if tree(target) != self.subject.contents[name]:
                self.note("wrong", f"{name} after the repair{self.said}")
        except (KeptError, OSError, Hang) as error:
            if not may_be_lost:
                self.note("lost", f"{name} after the repair: {error!r}{self.said}")
        shutil.rmtree(target, ignore_errors=True)

    def check_same(self) -> None:
        """With the mirror, the store shows what it showed before: versions, aliases, deletions."""
        store = kept.open_store("store")
        shown = {
            f"{v.name}:{alias}": v.reference
            for artifact in store.artifacts()
            for v in artifact.versions()
            for alias in v.aliases
        }
        if shown != self.subject.aliases:
            wanted = self.subject.aliases
            differ = {k: (wanted.get(k), shown.get(k)) for k in {*wanted, *shown}}
            differ = {k: v for k, v in differ.items() if v[0] != v[1]}
            self.note("lost", f"aliases (before, after): {differ}{self.said}")

    def check_kept(self) -> None:
        """What was replaced is kept below damaged/."""
        if self.found:
            top = self.case.fault.key.partition("/")[0]
            places = [tree(self.store / top) if "/" in self.case.fault.key else {}]
            places.append(tree(self.store / "damaged") if (self.store / "damaged").exists() else {})
            places.append({"": self.store.joinpath("kept.json").read_bytes()})
            if not any(self.found in place.values() for place in places):
                self.note("lost", f"the replaced bytes{self.said}")

    def check_growth(self) -> None:
        """Each artifact grows, and a further repair finds nothing to do."""
        again = command("repair", "--yes", "--json")
        if again.code not in (0, 4) or (json.loads(again.out)["steps"]):
            self.note("lost", f"a second repair: exit {again.code}: {again.text[-400:]}{self.said}")
        for name in sorted({reference.partition(":")[0] for reference in self.subject.contents}):
            Path("new.txt").write_bytes(b"grown " * 40)
            answer = command("put", name, "new.txt")
            if answer.code != 0:
                self.note(
                    "lost",
                    f"put {name} after the repair: exit {answer.code}: {answer.text}{self.said}",
                )
                continue
            kept.open_store("store").version(name).download(Path("got"))
            if tree(Path("got")) != {"new.txt": b"grown " * 40}:
                self.note("wrong", f"what was put into {name}")
            shutil.rmtree("got")

    @functools.cached_property
    def mirror(self) -> dict[str, bytes]:
        return tree(self.subject.root / "mirror")


def judged(subject: Subject, case: Case, _: str) -> dict[str, Any]:
    if case.fault.damage in damage.AS_ANOTHER_USER:
        damage.become_nobody()
    shutil.copytree(subject.store, "store")
    shutil.copytree(subject.root / "mirror", "mirror")
    return Judge(subject, case).run()


def main(options: list[str]) -> Tally:
    subjects.prepare()
    total = Tally("repair", is_shown=True)
    with tempfile.TemporaryDirectory(prefix="kept-subjects-", dir=in_memory()) as folder:
        os.chmod(folder, 0o755)
        subject = subjects.own(Path(folder, "own"))
        every = list(cases(subject))
        every = chosen(every, options, 16)
        total.take(run(functools.partial(judged, subject), every))
    return total


if __name__ == "__main__":
    sys.exit(report(main(sys.argv[1:]), sys.argv[1:]))
