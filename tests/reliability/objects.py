"""Damages every object of a store in object storage, and runs the commands on it.

`python -m tests.reliability.objects` runs everything; with --short, some of it.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3

import kept
from kept.errors import KeptError
from tests.helpers import tree
from tests.reliability import damage, subjects
from tests.reliability.cases import in_memory, run
from tests.reliability.commands import HANG, TRACEBACK, Answer
from tests.reliability.commands import kept as command
from tests.reliability.table import Tally, chosen, report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.reliability.subjects import Subject

DAMAGES = (
    "cut", "empty", "grown", "delete", "first bit", "middle bit", "last bit", "random", "swap"
)  # fmt: skip
BUCKET = "reliability"


class Case(NamedTuple):
    number: int
    key: str
    damage: str

    def __str__(self) -> str:
        return f"{self.damage} of {subjects.kind(self.key)} {self.key}"


def client() -> Any:
    return boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])


class Judge:
    """Runs the commands on one damaged store."""

    def __init__(self, subject: Subject, case: Case) -> None:
        self.subject, self.case = subject, case
        self.prefix = f"case-{case.number}"
        self.location = f"s3://{BUCKET}/{self.prefix}"
        self.client = client()
        self.tally = Tally("objects")
        self.tally.cases = 1
        self.damaged = {case.key}
        other = subjects.sibling(subject, case.key) if case.damage == "swap" else None
        if other:
            self.damaged.add(other)
        self.right = {key: (subject.store / key).read_bytes() for key in subject.files()}
        values: dict[str, bytes | None] = dict(self.right)
        if other:
            values[case.key], values[other] = values[other], values[case.key]
        elif case.damage == "delete":
            values[case.key] = None
        else:
            values[case.key] = damage.changed(case.damage, self.right[case.key])
        for key, data in values.items():
            if data is not None:
                self.put(key, data)

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=f"{self.prefix}/{key}", Body=data)

    def note(self, outcome: str, what: str, answer: Answer | None = None) -> None:
        said = f": exit {answer.code}: {answer.text[-500:]}" if answer else ""
        if self.is_exempt and outcome not in ("tracebacks", "hangs"):
            outcome = "exceptions"
        self.tally.add(outcome, f"{self.case}: {what}{said}")

    @functools.cached_property
    def is_exempt(self) -> bool:
        """Return whether nothing in the store can show the damage, as in corruption.py."""
        key = self.case.key
        if self.case.damage != "delete":
            return False
        folder, is_record, _ = key.rpartition("/log/")
        if is_record:
            return key == max(k for k in self.right if k.startswith(f"{folder}/log/"))
        needed = any(key in needs for needs in self.subject.needs.values())
        is_content = subjects.kind(key) in ("blob", "manifest")
        return subjects.kind(key) == "receipt" or (is_content and not needed)

    def ended(self, *args: str) -> Answer:
        answer = command(*args, store=self.location)
        self.tally.tried += 1
        if answer.code == HANG:
            self.note("hangs", " ".join(args))
        elif answer.code == TRACEBACK:
            self.note("tracebacks", " ".join(args), answer)
        elif answer.code == 0:
            self.tally.survived += 1
        elif answer.code == 4 or any(Path(k).stem in answer.text for k in self.damaged):
            self.tally.refused += 1
        else:
            self.note("unclear", " ".join(args), answer)
        return answer

    def run(self) -> dict[str, Any]:
        effects = [" ".join(args) for args in (("ls",), ("ls", "a"), ("gc", "--dry-run"), ("du",))
                   if self.ended(*args).code != 0]  # fmt: skip
        readable = self.get_all()
        effects += [name for name in self.subject.contents if name not in readable]
        if self.ended("verify").code == 0 and effects:
            self.note("silent", f"verify finds nothing, but: {effects}")
        Path("new.txt").write_bytes(b"new " * 50)
        for args in (("gc", "--grace", "0s"), ("put", "a", "new.txt"), ("sync", "copy")):
            self.ended(*args)
            for name in sorted(readable - self.get_quietly()):
                self.note("lost", f"{name} after {args[0]}")
        for key in self.damaged:
            self.put(key, self.right[key])
        for name in sorted(self.subject.contents.keys() - self.get_quietly()):
            self.note("lost", f"{name} even with the right object put back")
        return self.tally.as_json()

    def get_all(self) -> set[str]:
        readable = set()
        for name, expected in self.subject.contents.items():
            answer = self.ended("get", name, "got")
            found = tree(Path("got")) if Path("got").exists() else {}
            shutil.rmtree("got", ignore_errors=True)
            if found == expected:
                readable.add(name)
            elif found:
                self.note("wrong", f"get {name}", answer)
            elif not self.subject.needs[name] & self.damaged:
                self.note("taken along", f"get {name}", answer)
        return readable

    def get_quietly(self) -> set[str]:
        """Return the versions that can be downloaded byte by byte."""
        found, store = set(), kept.open_store(self.location)
        for name, expected in self.subject.contents.items():
            try:
                store.version(name).download(Path("got"))
                if tree(Path("got")) == expected:
                    found.add(name)
                else:
                    self.note("wrong", name)
            except (KeptError, OSError):
                pass
            shutil.rmtree("got", ignore_errors=True)
        return found


def judged(subject: Subject, case: Case, _: str) -> dict[str, Any]:
    return Judge(subject, case).run()


def cases(subject: Subject) -> Iterator[Case]:
    number = 0
    for key in subject.files():
        for name in DAMAGES:
            if name != "swap" or subjects.sibling(subject, key):
                number += 1
                yield Case(number, key, name)


def main(options: list[str]) -> Tally:
    subjects.prepare()
    total = Tally("objects", is_shown=True)
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.servers.moto_process"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert server.stdout
        os.environ |= {
            "AWS_ENDPOINT_URL": server.stdout.readline().strip(),
            "AWS_ACCESS_KEY_ID": "fake", "AWS_SECRET_ACCESS_KEY": "fake", "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }  # fmt: skip
        client().create_bucket(Bucket=BUCKET)
        with tempfile.TemporaryDirectory(prefix="kept-subjects-", dir=in_memory()) as folder:
            # The bases of blobs need locks, which object storage lacks; readers follow them.
            subject = subjects.own(Path(folder, "own"))
            every = list(cases(subject))
            every = chosen(every, options, 3)
            total.take(run(functools.partial(judged, subject), every))
    finally:
        server.kill()
        server.wait()
    return total


if __name__ == "__main__":
    sys.exit(report(main(sys.argv[1:]), sys.argv[1:]))
