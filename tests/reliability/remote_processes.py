"""Writers that are killed, and processes that race: cases of the suite `remote`."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import kept
from kept.errors import KeptError, NotFound
from kept.sync.mirror.replicate import Sync
from kept.sync.outbox.deliver import Delivery
from kept.sync.outbox.outbox import Outbox
from tests.reliability.remote_operations import SILENCE
from tests.reliability.remote_place import Place, short_limits
from tests.reliability.remote_store import State, files_of, given, state_of
from tests.reliability.table import Tally

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.reliability.remote_store import Template

COMMITS = 6  # of a writer that is killed; each makes about ten requests


def forked(work: Callable[[], None], name: str) -> int:
    """Run work in a forked process, which writes its errors to a file; return its id."""
    if pid := os.fork():
        return pid
    try:
        work()
    except BaseException:  # noqa: BLE001 - the case reports it
        Path(f"{name}.error").write_text(traceback.format_exc())
    os._exit(0)


def append(name: str, line: str) -> None:
    """Add a line to a file by one write, so that a kill leaves whole lines."""
    with open(name, "ab", 0) as file:
        file.write(f"{line}\n".encode())


def lines(name: str) -> list[str]:
    """Return the whole lines of a file."""
    return Path(name).read_text().split("\n")[:-1] if Path(name).exists() else []


class _Case:
    """What kills and races share."""

    def begin(self, template: Template) -> None:
        short_limits()
        self.place = Place(template, "processes")
        self.tally = Tally("remote")
        self.tally.cases = 1

    def note(self, outcome: str, what: str) -> None:
        text = f"{self}: {what}"
        self.tally.add(outcome, text)

    def errors(self) -> None:
        for path in Path().glob("*.error"):
            self.note("tracebacks", path.read_text()[-1500:])

    def damage(self, state: State) -> None:
        for problem in state.problems:
            self.note("lost", f"damage: {problem}")


class _KillFacts(NamedTuple):
    number: int


class Kill(_KillFacts, _Case):
    """A writer is killed at a request chosen by chance, and another process continues its work."""

    def __str__(self) -> str:
        return f"kill {self.number}"

    def work(self, template: Template) -> dict[str, Any]:
        """Run the case."""
        self.begin(template)
        chance = random.Random(self.number)
        at, pause = chance.randint(1, 12 * COMMITS), chance.choice([0.0, chance.uniform(0, 0.02)])
        is_delivery = bool(self.number % 2)
        writer = forked(lambda: self.write(is_delivery), "writer")
        self.kill_at(writer, at, pause)
        with self.place.proxy:
            os.waitpid(writer, 0)
            self.tally.tried += 1
            self.errors()
            reported = {int(line) for line in lines("committed")}
            self.write(is_delivery)
        self.judge(reported)
        return self.tally.as_json()

    def kill_at(self, pid: int, at: int, pause: float) -> None:
        count = 0

        def seen(_: object) -> None:
            nonlocal count
            count += 1
            if count == at:
                time.sleep(pause)  # after other requests of the same moment
                os.kill(pid, signal.SIGKILL)

        self.place.proxy.seen = seen

    def write(self, is_delivery: bool) -> None:
        """Commit what is not committed yet, as a run that is started again does."""
        store = kept.open_store(self.place.location)
        delivery = Delivery(store, Outbox("outbox"))
        for n in range(COMMITS):
            if n < len(lines("committed")):
                continue
            # A folder for each run: the outbox has links to the files of the run before.
            paths = given(Path(f"given-{os.getpid()}-{n}"), files_of("m", 30 + n))
            if not is_delivery:
                store.log_artifact("m", paths, metadata={"epoch": n})
            else:
                if n >= len(lines("added")):
                    files = {path.name: str(path) for path in paths}
                    info: Any = {"type": "model", "aliases": [], "metadata": {"epoch": n}}
                    delivery.add("m", files, info)
                    append("added", str(n))
                delivery.send()
            append("committed", str(n))

    def judge(self, reported: set[int]) -> None:
        state = self.place.state()
        self.damage(state)
        own = [files["own.bin"] for files in state.named("m")]
        right = [files_of("m", 30 + n)["own.bin"] for n in range(COMMITS)]
        for n, content in enumerate(right):
            if content not in own:
                said = "reported as committed" if n in reported else "committed again"
                self.note("lost", f"version {n}, {said}")
            elif own.count(content) > 1:
                self.note("doubled", f"version {n}: {own.count(content)} times")
        places = [right.index(content) for content in own if content in right]
        if places != sorted(places):
            self.note("disordered", str(places))
        if not self.tally.notes:
            self.tally.survived += 1


class _RaceFacts(NamedTuple):
    kind: str
    seconds: float


class Race(_RaceFacts, _Case):
    """Processes work at the same time; at the end the store is whole."""

    def __str__(self) -> str:
        return f"race of {self.kind}"

    def work(self, template: Template) -> dict[str, Any]:
        """Run the case."""
        self.begin(template)
        os.environ["AWS_ENDPOINT_URL"] = self.place.raw.endpoint  # no fault is wanted
        end = time.monotonic() + self.seconds
        others = {"two writers": lambda: self.writer(2, end), "gc and prune": lambda: self.gc(end),
                  "sync": lambda: self.sync(end)}  # fmt: skip
        running = {"writer": forked(lambda: self.writer(1, end), "writer"),
                   "other": forked(others[self.kind], "other")}  # fmt: skip
        for name, pid in running.items():
            self.wait(name, pid, end + 2 * SILENCE)
        self.errors()
        self.judge()
        return self.tally.as_json()

    def wait(self, name: str, pid: int, until: float) -> None:
        while not os.waitpid(pid, os.WNOHANG)[0]:
            if time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                self.note("hangs", f"{name} has no end")
                return
            time.sleep(0.05)

    def timed(self, name: str, function: Callable[[], object]) -> None:
        """Call a function, and note how long it takes; errors that a race may have are fine."""
        started = time.monotonic()
        try:
            function()
        except NotFound:
            pass
        except KeptError as error:
            append(f"{name}.refused", f"{type(error).__name__}: {error}")
        append(f"{name}.took", str(time.monotonic() - started))

    def writer(self, who: int, end: float) -> None:
        store, n = kept.open_store(self.place.location), 0
        while time.monotonic() < end:
            n += 1
            paths = given(Path(f"given{who}"), files_of(f"w{who}", n))

            def put(paths: list[Path] = paths, n: int = n) -> None:
                version = store.log_artifact("m", paths, metadata={"who": who, "n": n})
                append(f"writer{who}", f"{n} {version.index}")

            self.timed(f"writer{who}", put)

    def gc(self, end: float) -> None:
        store = kept.open_store(self.place.location)
        while time.monotonic() < end:
            self.timed("prune", lambda: store.prune("m", kept.Keep(last=5)))
            self.timed("gc", lambda: store.gc(grace=0))

    def sync(self, end: float) -> None:
        store, copy = kept.open_store(self.place.location), kept.open_store("copy")
        while time.monotonic() < end:
            self.timed("sync", Sync(store, copy, "m").run)

    def judge(self) -> None:
        state = self.place.state()
        self.damage(state)
        for path in Path().glob("*.took"):
            took = [float(line) for line in lines(path.name)]
            self.tally.tried += len(took)
            if max(took, default=0) > SILENCE:
                self.note("hangs", f"{path.stem} took {max(took):.0f} s")
        refused = [line for path in Path().glob("*.refused") for line in lines(path.name)]
        self.tally.refused += len(refused)
        self.tally.survived += self.tally.tried - len(refused)
        for who in (1, 2):
            self.judge_writer(who, state)
        if self.kind == "sync":
            store, copy = kept.open_store(self.place.location), kept.open_store("copy")
            Sync(store, copy, "m").run()
            if (found := state_of(Path("copy").absolute())).named("m") != state.named("m"):
                self.note("lost", f"the copy has {len(found.named('m'))} versions")

    def judge_writer(self, who: int, state: State) -> None:
        made = [line.split() for line in lines(f"writer{who}")]
        indices = [int(index) for _, index in made]
        if indices != sorted(indices) or len(set(indices)) < len(indices):
            self.note("disordered", f"writer {who}: {indices}")
        if not made and (who == 1 or self.kind == "two writers"):
            said = [line for path in Path().glob("*.refused") for line in lines(path.name)][:3]
            self.note("lost", f"writer {who} committed nothing: {said}")
        for n, index in made if self.kind != "gc and prune" else made[-1:]:
            if state.versions.get(f"m:v{index}") != files_of(f"w{who}", int(n)):
                self.note("lost", f"m:v{index} of writer {who}")


class _SilenceFacts(NamedTuple):
    command: tuple[str, ...]


class Silence(_SilenceFacts, _Case):
    """A server accepts connections and answers nothing; the limits of time are the real ones."""

    def __str__(self) -> str:
        return f"silence: {' '.join(self.command)}"

    def work(self, template: Template) -> dict[str, Any]:
        """Run the case."""
        self.begin(template)
        Path("f").write_bytes(b"a file")
        self.place.proxy.lie = lambda asked: "hang"
        with self.place.proxy:
            self.run()
            self.place.proxy.over.set()
        return self.tally.as_json()

    def run(self) -> None:
        reader, writer = os.pipe()
        command = [sys.executable, "-m", "kept", "--store", self.place.location, *self.command]
        if not Path(kept.__file__).with_name("__main__.py").exists():
            code = "from kept.cli.main import main; main()"
            command[1:3] = ["-c", code]
        pid = os.posix_spawn(
            sys.executable, command, os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, writer, 1), (os.POSIX_SPAWN_DUP2, writer, 2)],
        )  # fmt: skip
        os.close(writer)
        self.tally.tried += 1
        started = last = time.monotonic()
        longest, said = 0.0, b""
        while data := os.read(reader, 1 << 16):
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
            said += data
        os.close(reader)
        longest = max(longest, time.monotonic() - last)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        text = f"{said.decode()[-500:]!r} after {time.monotonic() - started:.0f} s"
        if longest > SILENCE:
            self.note("hangs", f"silent for {longest:.0f} s; {text}")
        elif b"Traceback" in said:
            self.note("tracebacks", text)
        elif code == 0:
            self.note("false ok", text)
        else:
            self.tally.refused += 1
