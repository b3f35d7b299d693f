"""Forges the JSON of a store: values of a wrong type, range or size, under a right seal.

Whoever can write into a store can do this. Each command has to end with a plain error, within
bounded memory, and without touching a file outside its target.
`python -m tests.reliability.forged` runs everything; with --short, some values of each field.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import resource
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kept.digest import digest
from kept.store.encoding import canonical
from kept.sync.outbox.outbox import Outbox
from tests.helpers import write
from tests.reliability import damage, subjects
from tests.reliability.cases import in_memory, run
from tests.reliability.commands import HANG, TRACEBACK
from tests.reliability.commands import kept as command
from tests.reliability.table import Tally, chosen, report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.reliability.subjects import Subject

MEMORY = 512 * 1024 * 1024  # bytes over what the process has before
EVIL = "/tmp/kept-was-here"
MARK = "@RAW@"  # replaced by text that json.dumps cannot write
RAW = {
    "nested lists": "[" * 100_000 + "]" * 100_000,
    "nested objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "huge number": "1" * 5000,
    "huge exponent": "1e999999",
    "NaN": "NaN",
    "-Infinity": "-Infinity",
    "surrogate": '"\\ud800"',
    "nul": '"\\u0000"',
    "broken": '{"a":',
    "million numbers": "[" + "1," * 999_999 + "1]",
    "million objects": "[" + "{}," * 999_999 + "{}]",
    "five million objects": "[" + "{}," * 5_300_000 + "{}]",  # a record has 16 MiB at most
    "long text": '"' + "x" * 3_000_000 + '"',
}
VALUES: dict[str, Any] = {
    "null": None, "true": True, "false": False, "-1": -1, "0": 0, "1": 1, "7": 7,
    "2^31": 2**31, "2^53": 2**53, "2^63-1": 2**63 - 1, "2^63": 2**63, "2^64": 2**64,
    "10^300": 10**300, "1.5": 1.5, "-0.0": -0.0, "1e308": 1e308, "": "", "text": "text",
    "latest": "latest", "v3": "v3", "climbing": "../" * 12 + EVIL, "absolute": EVIL, "..": "..",
    "a/../../b": "a/../../b", "escape": "\x1b[31mred\x1b]0;title\x07", "bidi": "a\u202eb",
    "newline": "a\nb", "dash": "-rf", "no date": "9999-99-99T00:00:00Z",
    "no zone": "2026-01-01T00:00:00", "year 0": "0000-01-01T00:00:00Z", "zeros": "0" * 64,
    "upper case": "ABCDEF01" * 8, "short digest": "00", "[]": [], "{}": {}, "[[]]": [[]],
    "[null]": [None], "{a:1}": {"a": 1}, "[1,2]": [1, 2], "[text]": ["text"], "{'': {}}": {"": {}},
}  # fmt: skip
MISSING = "missing"
KINDS = ("version", "alias", "delete", "undelete", "fence", "page", "manifest", "gc list",
         "receipt", "kept.json", "entry", "refused")  # fmt: skip


class Case(NamedTuple):
    kind: str
    path: tuple[str | int, ...]  # of the field in the value
    value: str

    def __str__(self) -> str:
        return f"{self.kind}: {'/'.join(map(str, self.path)) or 'all'} = {self.value}"


def fields(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the place of each field of a value; of a list those of the first two."""
    yield path
    if isinstance(value, dict):
        for key in sorted(value):
            yield from fields(value[key], (*path, key))
    elif isinstance(value, list):
        for n in range(min(2, len(value))):
            yield from fields(value[n], (*path, n))


def forge(value: Any, case: Case) -> bytes:
    """Return the canonical text of a value with one field replaced."""
    value = json.loads(json.dumps(value))
    new = MARK if case.value in RAW else VALUES.get(case.value)
    if not case.path:
        value = new
    else:
        *before, last = case.path
        inner = value
        for step in before:
            inner = inner[step]
        if case.value == MISSING:
            del inner[last]
        else:
            inner[last] = new
    text = canonical(value)
    return text.replace(f'"{MARK}"'.encode(), RAW[case.value].encode()) if new == MARK else text


def sealed(body: bytes) -> bytes:
    return b'{"blake3":"' + digest(body).encode() + b'","value":' + body + b"}"


def value_of(path: Path) -> Any:
    value = json.loads(path.read_bytes())
    return value.get("value", value)


class Places:
    """Where the values of each kind lie in a subject."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = root, root / "store"

    def records(self) -> dict[int, Path]:
        return {int(p.stem): p for p in (self.store / "artifacts/a/log").iterdir()}

    def place(self, kind: str) -> Path:
        """Return the file of a kind that gets forged."""
        match kind:
            case "page":
                return next((self.store / "artifacts/a/state").iterdir())
            case "manifest":
                name = value_of(self.record_of("version"))["manifest"]
                return self.store / "manifests" / name[:2] / f"{name}.json"
            case "gc list":
                return next((self.store / "gc").iterdir())
            case "receipt":
                return next((self.store / "outbox").glob("*/a.json"))
            case "kept.json":
                return self.store / "kept.json"
            case "entry":
                return next(self.root.glob("outbox/*/entry.json"))
            case "refused":
                return next(self.root.glob("outbox/*/entry.json")).parent / "refused.json"
        return self.record_of(kind)

    def record_of(self, kind: str) -> Path:
        """Return the newest record of a kind of event."""
        for _, path in sorted(self.records().items(), reverse=True):
            event = value_of(path)
            name = "fence" if "gc" in event else event["event"]
            if name == kind:
                return path
        raise LookupError(kind)

    def value(self, kind: str) -> Any:
        if kind == "refused":
            return {"reason": "no", "taken": ["x"], "time": "2026-01-01T00:00:00+00:00"}
        return value_of(self.place(kind))

    def put(self, case: Case) -> None:
        """Write the forged value, and let all that refers to it agree."""
        path = self.place(case.kind)
        body = forge(self.value(case.kind), case)
        if case.kind in ("version", "alias", "delete", "undelete", "fence"):
            damage.replace(path, sealed(body))
            self.chain(int(path.stem), body)
        elif case.kind == "manifest":
            self.put_manifest(body)
        elif case.kind in ("page", "entry", "refused"):
            damage.replace(path, sealed(body))
        elif case.kind == "gc list" and case.path != ("blake3",):
            damage.replace(path, resealed(body, "keys") or body)
        elif case.kind == "kept.json" and case.path != ("blake3",):
            damage.replace(path, resealed(body, "format") or body)
        else:
            damage.replace(path, body)

    def chain(self, number: int, body: bytes) -> None:
        """Let the records after a forged one follow it, and drop the pages."""
        damage.remove(self.store / "artifacts/a/state")
        records = self.records()
        while number + 1 in records:
            number += 1
            event = value_of(records[number])
            event["previous"] = {**event["previous"], "blake3": digest(body)}
            body = canonical(event)
            damage.replace(records[number], sealed(body))

    def put_manifest(self, body: bytes) -> None:
        name = digest(body)
        write(self.store / "manifests" / name[:2] / f"{name}.json", body)
        path = self.record_of("version")
        event = value_of(path) | {"manifest": name}
        try:
            files = json.loads(body)["files"]
            event["size"] = sum(file["size"] for file in files)
            identity = [[f["path"], f["size"], [c[:2] for c in f["chunks"]]] for f in files]
            event["digest"] = digest(canonical(identity))
        except (ValueError, LookupError, TypeError, RecursionError):
            pass
        try:
            new = canonical(event)
        except (ValueError, TypeError):
            return
        damage.replace(path, sealed(new))
        self.chain(int(path.stem), new)


def resealed(body: bytes, key: str) -> bytes | None:
    """Return an object with the checksum of one of its values put right, if that is possible."""
    try:
        value = json.loads(body)
        return canonical(value | {"blake3": digest(canonical(value[key]))})
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


COMMANDS = (
    ("ls",), ("ls", "--json"), ("ls", "a", "--all", "--json"), ("ls", "a"), ("show", "a"),
    ("show", "a:best"), ("get", "a", "got"), ("get", "a:v1", "got"), ("get", "a:v5", "got"),
    ("du",), ("prune", "a", "--keep-last", "1", "--keep-best", "1", "--dry-run"),
    ("sync", "--status", "--outbox", "outbox"), ("verify",), ("repair",),
    ("gc", "--grace", "0s", "--dry-run"), ("gc", "--grace", "0s"), ("put", "a", "new.txt"),
    ("alias", "a:v1", "x"), ("undelete", "a:v5"), ("compact",), ("sync", "copy"),
    ("repair", "--yes", "--from", "mirror"),
)  # fmt: skip
OF_OUTBOX = (
    ("sync", "--status", "--outbox", "outbox"),
    ("sync", "--status", "--outbox", "outbox", "--json"), ("ls", "a"),
    ("sync", "--drop-refused", "--yes", "--outbox", "outbox"),
    ("sync", "--outbox", "outbox", "--artifact", "a"), ("sync", "--outbox", "outbox"),
)  # fmt: skip
EXPECTED = {"store", "got", "copy", "outbox", "sent", "new.txt", "mirror"}


def judged(subject: Subject, case: Case, _: str) -> dict[str, Any]:
    """Forge one value, and run the commands within bounded memory."""
    tally = Tally("forged")
    tally.cases = 1
    os.mkdir("inner")
    os.chdir("inner")
    damage.linked(subject.store, Path("store"))
    damage.linked(subject.root / "mirror", Path("mirror"))
    shutil.copytree(subject.root / "outbox", "outbox", symlinks=True)
    Path("new.txt").write_bytes(b"new")
    Places(Path.cwd()).put(case)
    bound_memory()
    for args in OF_OUTBOX if case.kind in ("entry", "refused") else COMMANDS:
        gc.collect()  # each command has a process of its own otherwise
        answer = command(*args)
        tally.tried += 1
        said = f"{case}: {' '.join(args)}: exit {answer.code}: {answer.text[-700:]}"
        if answer.code == HANG:
            tally.add("hangs", said)
        elif answer.code == TRACEBACK:
            tally.add("tracebacks", said)
        elif any((ord(c) < 32 and c not in "\n\t") or c in "\x7f\u202e" for c in answer.text):
            tally.add("wrong", f"control characters: {said}")
        elif answer.code:
            tally.refused += 1
        else:
            tally.survived += 1
    outside = {*os.listdir("."), *(f"../{name}" for name in os.listdir(".."))}
    strange = outside - EXPECTED - {"../inner"}
    if strange or os.path.lexists(EVIL):
        tally.add("wrong", f"{case}: touched {sorted(strange)} {EVIL}")
    return tally.as_json()


def bound_memory() -> None:
    """Let this process have only MEMORY bytes more than it has."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))


def with_outbox(subject: Subject) -> None:
    """Put two checkpoints that wait into an outbox beside the store."""
    home = os.getcwd()
    os.chdir(subject.root)
    try:
        for n in range(2):
            file = write(Path(f"waiting-{n}"), b"waiting %d" % n)
            info = {"artifact": "a", "type": "model", "aliases": ["x"], "metadata": {"epoch": n}}
            Outbox("outbox").add(str(subject.root / "sent"), {"model": str(file)}, info)
    finally:
        os.chdir(home)


def cases(subject: Subject) -> Iterator[Case]:
    places = Places(subject.root)
    for kind in KINDS:
        for path in fields(places.value(kind)):
            for name in (*VALUES, *RAW, *([MISSING] if path else [])):
                yield Case(kind, path, name)


def main(options: list[str]) -> Tally:
    subjects.prepare()
    total = Tally("forged", is_shown=True)
    with tempfile.TemporaryDirectory(prefix="kept-subjects-", dir=in_memory()) as folder:
        subject = subjects.own(Path(folder, "own"))
        with_outbox(subject)
        every = list(cases(subject))
        every = chosen(every, options, 20)
        total.take(run(functools.partial(judged, subject), every))
    return total


if __name__ == "__main__":
    sys.exit(report(main(sys.argv[1:]), sys.argv[1:]))
