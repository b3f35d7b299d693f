"""One story with real processes: train, evaluate, promote, announce, roll back, and see it all.

The watcher is killed with SIGKILL, the receiver of its events answers with 503 for a time, two runs
train and two commands evaluate at once. The same on a folder and on S3, and in a mirror.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import kept

HERE = Path(__file__).parent
SECRET = "whsec_" + "c2VjcmV0" * 4
CONDITION_NOT_MET = 5
PATIENCE = 120  # seconds; only a broken program takes that long


def environment(store):
    return os.environ | {
        "KERAS_BACKEND": "jax",
        "KEPT_STORE": store,
        "KEPT_USER": "ann@story",
        "KEPT_WEBHOOK_SECRET": SECRET,
    }


class Story:
    """The processes of one story; its store, and what the receiver of events has noted."""

    def __init__(self, store: str, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.environment = environment(store) | {"XDG_STATE_HOME": str(folder / "state")}
        self.started: list[subprocess.Popen[str]] = []
        self.url = ""

    def start(self, *command: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def kept(self, *arguments: str, code: int = 0) -> str:
        return self.end(self.start("-m", "kept", *arguments), code)

    def end(self, process: subprocess.Popen[str], code: int = 0) -> str:
        out, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, out
        return out

    def json(self, *arguments: str) -> object:
        return json.loads(self.kept(*arguments, "--json"))

    def train(self, seed: int) -> subprocess.Popen[str]:
        return self.start(HERE / "train.py", self.store, self.folder / f"run-{seed}", seed)

    def evaluate(self) -> subprocess.Popen[str]:
        command = ("evaluate", "digits", "--all", "--name", "test", "--dataset", "digits-test")
        return self.start("-m", "kept", *command, "--", sys.executable, str(HERE / "evaluate.py"))

    def receive(self) -> None:
        self.url = f"http://127.0.0.1:{self.line(self.start(HERE / 'receiver.py', '.', SECRET))}"

    @staticmethod
    def line(process: subprocess.Popen[str]) -> str:
        assert process.stdout
        return process.stdout.readline().strip()

    def watch(self, *more: str) -> subprocess.Popen[str]:
        kinds = "commit,alias,metric"
        options = ("--on", kinds, "--webhook", self.url, "--name", "story", "--from-start")
        return self.start("-m", "kept", "watch", "digits", *options, "--interval", "0.1", *more)

    def requests(self) -> list[dict]:
        path = self.folder / "requests.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def wait_for_requests(self, count: int) -> None:
        end = time.monotonic() + PATIENCE
        while len(self.requests()) < count:
            assert time.monotonic() < end, self.requests()
            time.sleep(0.05)


@pytest.fixture(params=["folder", "s3"])
def story(request, tmp_path):
    store = str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("s3")
    story = Story(store, tmp_path)
    yield story
    for process in story.started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_from_the_training_to_the_rollback(story, tmp_path):
    story.receive()

    # Two runs train at once, and a watcher is killed as soon as it has announced something.
    runs = [story.train(seed) for seed in (1, 2)]
    for run in runs:
        story.end(run)
    watcher = story.watch()
    story.wait_for_requests(1)
    watcher.send_signal(signal.SIGKILL)
    watcher.wait()
    (tmp_path / "down").touch()  # the receiver answers with 503
    watcher = story.watch()

    # Two commands evaluate each version at once; each version has one result.
    for evaluation in [story.evaluate(), story.evaluate()]:
        story.end(evaluation)
    versions = kept.open_store(story.store).versions("digits")
    assert len(versions) == 4
    for version in versions:
        found = [each for each in version.record.changes.logged if each.evaluation == "test"]
        assert sorted(each.name for each in found) == ["test_acc"]
        assert {each.dataset for each in found} == {"digits-test"}
        assert version.metrics["size_mb"] == pytest.approx(version.size / 1e6)

    # best follows the metric that was measured later.
    story.kept("best", "digits", "--monitor", "test_acc", "--mode", "max")
    top = max(version.metrics["test_acc"] for version in versions)
    best = kept.open_store(story.store)["digits:best"]
    assert best.metrics["test_acc"] == top

    # prod is protected: only a promotion moves it, and only if its condition holds.
    story.kept("protect", "prod")
    story.kept("alias", "digits:v0", "prod", code=1)
    story.kept("promote", "digits:v0", "prod", "--message", "the first one")
    out = story.kept(
        "promote", "digits:best", "prod", "--if", "test_acc > 2", code=CONDITION_NOT_MET
    )
    assert "test_acc" in out
    assert kept.open_store(story.store)["digits:prod"].index == 0
    other = next(v for v in reversed(versions) if v.index)
    rule = f"test_acc >= {other.metrics['test_acc']}"
    story.kept("promote", other.reference, "prod", "--if", rule, "--message", "better")
    assert kept.open_store(story.store)["digits:prod"] == other

    # The receiver recovers; the watcher is killed again, and a last one delivers the rest.
    (tmp_path / "down").unlink()
    story.wait_for_requests(len(story.requests()) + 2)
    watcher.send_signal(signal.SIGKILL)
    watcher.wait()
    story.kept("rollback", "digits:prod", "--message", "complaints")
    assert kept.open_store(story.store)["digits:prod"].index == 0
    story.end(story.watch("--once"))

    check_events(story)
    check_log(story, other)
    check_lineage(story)
    check_mirror(story, tmp_path)


def check_events(story: Story) -> None:
    """Each event has arrived once under its id; one that came again is marked."""
    accepted = [request for request in story.requests() if request["accepted"]]
    assert all(request["signed"] for request in accepted)
    seen: set[str] = set()
    for request in accepted:
        assert request["id"] not in seen or request["redelivery"] == "true"
        seen.add(request["id"])
    events = {request["id"]: request["event"] for request in accepted}
    kinds = Counter(event["type"] for event in events.values())
    log = kept.open_store(story.store).log("digits").view()
    recorded = Counter(event["event"] for event in log.backwards())
    assert kinds["commit"] == recorded["version"] == 4
    assert kinds["metric"] == recorded["metrics"] == 8  # by on_commit, and by the evaluation
    moves = [event for event in events.values() if event["type"] == "alias"]
    places = [event["data"] for event in moves]
    prod = [place["reference"] for place in places if place["alias"] == "prod"]
    assert (prod[0], len(prod)) == ("digits:v0", 3)


def check_log(story: Story, other: kept.Version) -> None:
    changes = story.json("log", "digits")
    actions = Counter(change["action"] for change in changes)
    assert actions["promote"] == 2
    assert actions["rollback"] == 1
    assert actions["version"] == 4
    assert changes[0]["action"] == "rollback"
    assert {change["by"] for change in changes if change["action"] != "version"} == {"ann@story"}
    text = story.kept("log", "digits")
    for part in ("complaints", "better", "the first one", f"v{other.index}", "test_acc"):
        assert part in text


def check_lineage(story: Story) -> None:
    tree = json.dumps(story.json("lineage", "digits:prod"))
    assert "https://example.org/digits.csv.gz" in tree
    assert "digits" in story.kept("lineage", "digits:prod")


def check_mirror(story: Story, tmp_path: Path) -> None:
    """A mirror says the same about each version, and who did what."""
    mirror = str(tmp_path / "mirror")
    story.kept("sync", story.store, mirror)
    for command in (["ls", "digits"], ["log", "digits"], ["lineage", "digits:prod"]):
        here, there = (story.json("--store", place, *command) for place in (story.store, mirror))
        assert without_places(here, story.store) == without_places(there, mirror)
    store = kept.open_store(mirror)
    assert store.verify().ok
    with pytest.raises(kept.errors.AliasProtected):
        store.set_alias("digits:v1", "prod")


def without_places(found: object, store: str) -> str:
    if isinstance(found, list):
        found = [
            {key: value for key, value in each.items() if key != "mirrored"}
            if isinstance(each, dict) else each
            for each in found
        ]  # fmt: skip
    return json.dumps(found, sort_keys=True).replace(store, "STORE")
