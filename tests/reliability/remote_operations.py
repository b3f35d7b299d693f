"""The operations of the suite `remote`: what runs, and what must be so if it reports success."""

from __future__ import annotations

import json
import shutil
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import kept
from kept.cli.errors import exit_code
from kept.errors import KeptError
from kept.sync.outbox.deliver import Delivery
from kept.sync.outbox.outbox import Outbox
from tests.helpers import tree
from tests.reliability import remote_keep
from tests.reliability.cases import Hang, limited
from tests.reliability.commands import HANG, TRACEBACK, Answer
from tests.reliability.commands import kept as command
from tests.reliability.remote_store import State, Tree, files_of, given, state_of

if TYPE_CHECKING:
    from collections.abc import Callable

Check = str  # what is not as it must be, "" if all is
SILENCE = 30  # seconds


def called(function: Callable[[], object]) -> Answer:
    """Call Python functions of kept as a command would be."""
    try:
        with limited(SILENCE):
            return Answer(0, str(function()), "")
    except Hang:
        return Answer(HANG, "", "no end")
    except (KeptError, OSError) as error:
        return Answer(exit_code(error), "", f"{type(error).__name__}: {error}")
    except Exception as error:  # noqa: BLE001 - that is what the suite looks for
        return Answer(TRACEBACK, "", "".join(traceback.format_exception(error)[-4:]))


class Operation(NamedTuple):
    """A command or a call on the store at a location, in the folder of a case."""

    name: str
    run: Callable[[str], Answer]
    done: Callable[[Answer, State], Check]
    adds: tuple[Tree, ...] = ()  # contents of the versions that it makes, in order
    removes: tuple[str, ...] = ()  # versions that it may delete
    reads: bool = False  # it only shows what is in the store
    variant: str = "store"


def _command(*args: str) -> Callable[[str], Answer]:
    return lambda location: command(*args, store=location)


def _put(name: str, n: int, artifact: str) -> Callable[[str], Answer]:
    def run(location: str) -> Answer:
        paths = [str(path) for path in given(Path("p"), files_of(name, n))]
        return command("put", artifact, *paths, store=location)

    return run


def _has(artifact: str, *contents: Tree) -> Callable[[Answer, State], Check]:
    def done(_: Answer, state: State) -> Check:
        found = state.named(artifact)
        return "" if found[-len(contents) :] == list(contents) else "the newest is not what it said"

    return done


def _shown(expected: Callable[[Any], Any], right: Any) -> Callable[[Answer, State], Check]:
    def done(answer: Answer, _: State) -> Check:
        found = expected(json.loads(answer.out))
        return "" if found == right else f"it showed {found}"

    return done


def _alias(alias: str, reference: str) -> Callable[[Answer, State], Check]:
    def done(_: Answer, state: State) -> Check:
        return "" if state.aliases.get(alias) == reference else f"{alias} is not {reference}"

    return done


def _are(name: str, references: set[str]) -> Callable[[Answer, State], Check]:
    def done(_: Answer, state: State) -> Check:
        found = {ref for ref in state.versions if ref.startswith(f"{name}:")}
        return "" if found == references else f"there are {sorted(found)}"

    return done


def _got(_: Answer, state: State) -> Check:
    found = tree(Path("got")) if Path("got").exists() else {}
    return "" if found == files_of("m", 2) else "the files are not those of the version"


def _get(location: str) -> Answer:
    shutil.rmtree("got", ignore_errors=True)
    return command("get", "m:best", "got", store=location)


def _push(location: str) -> Answer:
    if not Path("source").exists():
        store = kept.open_store("source")
        for n in range(3):
            store.log_artifact("p", given(Path("given"), files_of("p", n)))
    return command("sync", "source", location)


def _pulled(_: Answer, state: State) -> Check:
    copy = state_of(Path("copy").absolute())
    if copy.problems:
        return f"the copy is damaged: {copy.problems}"
    return "" if copy.versions == state.versions else f"the copy has only {list(copy.versions)}"


def _newest(location: str) -> Answer:
    return called(lambda: kept.open_store(location).version("m").reference)


def _deliver(location: str) -> Answer:
    outbox = Outbox("outbox")
    if not Path("added").exists():
        for n in (20, 21, 22):
            files = {path.name: str(path) for path in given(Path(f"d{n}"), files_of("m", n))}
            info: Any = {"artifact": "m", "type": "model", "aliases": [], "metadata": {"epoch": n}}
            outbox.add(location, files, info)
        Path("added").touch()
    return called(lambda: Delivery(kept.open_store(location), outbox).send())


def _pruned(answer: Answer, state: State) -> Check:
    decisions = json.loads(answer.out)
    right = {d["reference"] for d in decisions if d["keep"]} | ({"m:v7"} & state.versions.keys())
    found = {ref for ref in state.versions if ref.startswith("m:")}
    return "" if found == right else f"there are {sorted(found)}, not {sorted(right)}"


NEW, WAITING = files_of("m", 10), tuple(files_of("m", n) for n in (20, 21, 22))
PUSHED = tuple(files_of("p", n) for n in range(3))
ALL = {f"m:v{n}" for n in (0, 2, 3, 4, 5, 6, 7)}
OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation("put", _put("m", 10, "m"), _has("m", NEW), (NEW,)),
        Operation("put new", _put("m", 10, "n"), _has("n", NEW), (NEW,)),
        Operation("get", _get, _got, reads=True),
        Operation(
            "ls", _command("ls", "--json"),
            _shown(lambda all_: {a["name"]: a["versions"] for a in all_}, {"b": 1, "m": 7}),
            reads=True,
        ),
        Operation(
            "ls m", _command("ls", "m", "--json"),
            _shown(lambda all_: {v["reference"] for v in all_}, ALL), reads=True,
        ),
        Operation(
            "show", _command("show", "m:best", "--json"),
            _shown(lambda v: (v["reference"], len(v["files"])), ("m:v2", 2)), reads=True,
        ),
        Operation("rm", _command("rm", "m:v3", "--yes", "--force"), _are("m", ALL - {"m:v3"}),
                  removes=("m:v3",)),
        Operation("undelete", _command("undelete", "m:v1"), _are("m", ALL | {"m:v1"}),
                  (files_of("m", 1),)),
        Operation("alias", _command("alias", "m:v4", "prod"), _alias("m:prod", "m:v4")),
        Operation("gc", _command("gc", "--grace", "0s"), lambda *_: ""),
        Operation(
            "prune", _command("prune", "m", "--keep-last", "2", "--yes", "--json"),
            _pruned,
            removes=("m:v3", "m:v4", "m:v5"),
        ),
        Operation("verify", _command("verify", "--json"),
                  _shown(lambda report: report["versions"], 8), reads=True),
        Operation("compact", _command("compact"), lambda *_: ""),
        Operation("sync to", _push, _has("p", *PUSHED), PUSHED),
        Operation("sync from", lambda location: command("sync", location, "copy"), _pulled,
                  reads=True),
        Operation("newest", _newest,
                  lambda answer, _: "" if answer.out == "m:v7" else f"it is {answer.out}",
                  reads=True),
        Operation("deliver", _deliver, _has("m", *WAITING), WAITING),
        Operation("keep", lambda location: called(lambda: remote_keep.run(location)),
                  lambda _, state: remote_keep.done(state)),
        Operation("put beside gc", _put("m", 1, "m"), _has("m", files_of("m", 1)),
                  (files_of("m", 1),), variant="condemned"),
    )
}  # fmt: skip
