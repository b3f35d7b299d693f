"""The whole store against a dict: every operation, crashes in the middle of one, and copies.

The store lies in memory. A crash is a bucket that ends the operation at its n-th request, as a kill
does. Afterwards the store holds what it held before or after the operation, and nothing else.
"""

from __future__ import annotations

import copy
import dataclasses
import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

import kept
from kept.bucket.memory import MemoryBucket
from kept.errors import ArtifactNotFound, VersionGone, VersionInUse, VersionNotFound
from kept.store.content import packing
from kept.store.gc import collector
from kept.store.log import pages
from kept.store.receipts import Receipts
from kept.store.repair.repair import carry_out, plan_repair
from kept.sync.mirror.replicate import Sync
from tests.helpers import Wrapped, tree
from tests.reliability.cases import in_memory
from tests.reliability.table import Tally

NAMES = ("a", "b")
WORDS = [(w * 200)[: 190 if w < "f" else 40].encode() for w in "abcdefgh"]
TALLY = Tally("state machine")

names = st.sampled_from(NAMES)
contents = st.sets(st.integers(0, len(WORDS) - 1), min_size=1, max_size=3).map(sorted).map(tuple)
by_hand = st.sampled_from(["best", "prod"])
aliases = by_hand | st.just("epoch_1")
crashes = st.one_of(st.none(), st.none(), st.integers(1, 30))


class Crash(BaseException):
    """The process was killed here."""


class Fragile(Wrapped):
    """A bucket that crashes before its n-th request."""

    left = 0

    def __getattr__(self, name):
        found = getattr(self.inner, name)
        if not callable(found):
            return found

        def call(*args, **more):
            if self.left == 1:
                self.left = 0
                raise Crash
            self.left -= bool(self.left)
            return found(*args, **more)

        return call


@dataclasses.dataclass
class Version:
    content: tuple[int, ...]
    deleted: bool = False
    was_collected: bool = False  # a gc ran since it was deleted, so its content may be gone


@dataclasses.dataclass
class Artifact:
    versions: list[Version] = dataclasses.field(default_factory=list)
    aliases: dict[str, int] = dataclasses.field(default_factory=dict)

    def live(self) -> list[int]:
        return [n for n, version in enumerate(self.versions) if not version.deleted]

    def seen(self):
        """Return what a reader sees: each live version, its content and aliases."""
        found = {}
        for n in self.live():
            own = {a for a, index in self.aliases.items() if index == n}
            found[n] = (self.versions[n].content, own)
        return found


class StoreMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        TALLY.cases += 1
        self.folder = Path(tempfile.mkdtemp(prefix="kept-machine-", dir=in_memory()))
        self.values, self.copy_values = MemoryBucket(), MemoryBucket()
        self.model = {name: Artifact() for name in NAMES}
        self.saved: dict[str, Artifact] = {}  # what the copy has
        self.open()

    def teardown(self):
        shutil.rmtree(self.folder)

    def open(self):
        self.bucket, self.copy_bucket = Fragile(self.values), Fragile(self.copy_values)
        self.store, self.copy = kept.Store(self.bucket), kept.Store(self.copy_bucket)

    def attempt(self, crash, operation):
        """Run an operation, which may crash at a request; return its result, None after a crash."""
        TALLY.tried += 1
        self.bucket.left = self.copy_bucket.left = crash or 0
        try:
            result = operation()
        except Crash:
            TALLY.survived += 1
            self.open()
            return None
        except (VersionInUse, VersionGone):
            TALLY.refused += 1
            raise
        finally:
            self.bucket.left = self.copy_bucket.left = 0
        TALLY.survived += 1
        return result or True

    def settle(self, crashed, after):
        """Take the state after an operation, or, if it crashed, the one that the store shows."""
        if not crashed or self.shown() == {n: a.seen() for n, a in after.items()}:
            self.model = after

    def shown(self, store=None):
        """Return what the store shows, in the form of the model."""
        store = store or self.store
        found = {}
        for name in NAMES:
            try:
                versions = store.versions(name)
            except ArtifactNotFound:
                versions = []
            found[name] = {
                v.index: (tuple(v.metadata["content"]), {*v.aliases} - {"latest"}) for v in versions
            }
        return found

    def files(self, content):
        for n in content:
            (self.folder / f"{n}").write_bytes(WORDS[n])
        return [self.folder / f"{n}" for n in content]

    @initialize(content=contents)
    def first(self, content):
        self.put("a", content, None, None)

    @rule(name=names, content=contents, alias=st.none() | aliases, crash=crashes)
    def put(self, name, content, alias, crash):
        after = copy.deepcopy(self.model)
        artifact = after[name]
        live = artifact.live()
        if not live or artifact.versions[live[-1]].content != content:
            artifact.versions.append(Version(content))
        if alias:
            artifact.aliases[alias] = artifact.live()[-1]
        done = self.attempt(
            crash,
            lambda: self.store.log_artifact(
                name,
                self.files(content),
                aliases=[alias] if alias else [],
                metadata={"content": list(content)},
            ),
        )
        self.settle(done is None, after)

    @rule(name=names, n=st.integers(0, 50), alias=by_hand, crash=crashes)
    def set_alias(self, name, n, alias, crash):
        live = self.model[name].live()
        if live:
            after = copy.deepcopy(self.model)
            index = live[n % len(live)]
            after[name].aliases[alias] = index
            done = self.attempt(crash, lambda: self.store.set_alias(f"{name}:v{index}", alias))
            self.settle(done is None, after)

    @rule(name=names, n=st.integers(0, 50), force=st.booleans(), crash=crashes)
    def remove(self, name, n, force, crash):
        live = self.model[name].live()
        if not live:
            return
        index = live[n % len(live)]
        after = copy.deepcopy(self.model)
        in_use = index in after[name].aliases.values()
        after[name].versions[index] = Version(after[name].versions[index].content, deleted=True)
        try:
            done = self.attempt(crash, lambda: self.store.delete(f"{name}:v{index}", force=force))
        except VersionInUse:
            assert in_use
            assert not force
            return
        assert done is None or force or not in_use
        self.settle(done is None, after)

    @rule(name=names, n=st.integers(0, 50), crash=crashes)
    def undelete(self, name, n, crash):
        versions = self.model[name].versions
        deleted = [k for k, version in enumerate(versions) if version.deleted]
        if not deleted:
            return
        index = deleted[n % len(deleted)]
        after = copy.deepcopy(self.model)
        after[name].versions[index] = Version(versions[index].content)
        try:
            done = self.attempt(crash, lambda: self.store.undelete(f"{name}:v{index}"))
        except VersionGone:
            assert versions[index].was_collected
            return
        self.settle(done is None, after)

    @rule(name=names, last=st.integers(1, 3), crash=crashes)
    def prune(self, name, last, crash):
        if not self.model[name].versions:
            return
        before = self.shown()[name]
        self.attempt(crash, lambda: self.store.prune(name, kept.Keep(last=last)))
        after = self.shown()[name]
        assert all(after.get(n) == version for n, version in before.items() if n in after)
        gone = before.keys() - after.keys()
        kept_by_rule = sorted(before)[-last:]
        assert not gone & {*kept_by_rule}
        assert not any({*before[n][1]} - {"epoch_1"} for n in gone)
        for n in gone:
            self.model[name].versions[n] = Version(
                self.model[name].versions[n].content, deleted=True
            )

    @rule(crash=crashes)
    def gc(self, crash):
        for artifact in self.model.values():
            for version in artifact.versions:
                version.was_collected |= version.deleted
        self.attempt(crash, lambda: self.store.gc(grace=0))

    @rule(crash=crashes)
    def compact(self, crash):
        self.attempt(crash, self.store.compact)

    @rule(name=names, crash=crashes)
    def sync(self, name, crash):
        if not self.model[name].versions:
            return
        receipts = Receipts(self.bucket, self.copy_bucket.location)
        receipts.register(name)
        done = self.attempt(crash, lambda: Sync(self.store, self.copy, name).run(receipts))
        if done is not None:
            self.saved[name] = copy.deepcopy(self.model[name])
            assert self.shown(self.copy)[name] == self.model[name].seen()
            self.check_contents(self.copy, name)

    @rule()
    def reopen(self):
        self.open()

    @rule(n=st.integers(0, 10_000), how=st.sampled_from(["delete", "empty", "flip"]), crash=crashes)
    def damage_and_repair(self, n, how, crash):
        """Damage one value, and repair it from a copy that has everything; a repair can crash."""
        for name in NAMES:
            self.sync(name, None)
        keys = sorted(k for k in self.values.keys("") if not k.startswith(("damaged/", "tmp/")))
        key = keys[n % len(keys)]
        data = bytearray(self.values.get(key))
        if how == "delete":
            self.values.delete(key)
        elif data:
            data[n % len(data)] ^= 1
            self.values.put(key, [bytes(data) if how == "flip" else b""])
        self.open()
        self.attempt(crash, self.repair)
        self.repair()
        self.open()
        assert self.store.verify().problems == [], (key, how)
        for artifact in self.model.values():  # the copy lacks what was deleted before it was made
            for version in artifact.versions:
                version.was_collected |= version.deleted

    def repair(self):
        carry_out(self.bucket, *plan_repair(self.bucket, [self.copy_bucket]))

    @invariant()
    def it_shows_what_was_put(self):
        assert self.shown() == {name: a.seen() for name, a in self.model.items()}

    @invariant()
    def contents_are_whole(self):
        for name in NAMES:
            self.check_contents(self.store, name)

    def check_contents(self, store, name):
        for index, (content, _) in self.model[name].seen().items():
            out = self.folder / "out"
            store[f"{name}:v{index}"].download(out)
            assert tree(out) == {str(n): WORDS[n] for n in content}
            shutil.rmtree(out)
        with pytest.raises((VersionNotFound, ArtifactNotFound)):
            store.version(f"{name}:v{len(self.model[name].versions)}")


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(packing, "PACK_BELOW", 100)
    monkeypatch.setattr(pages, "PAGE", 4)
    monkeypatch.setattr(pages, "BIG_PAGE", 16)
    monkeypatch.setattr(collector, "ABANDONED", collector.ABANDONED * 0)
    TALLY.clear()


def check(examples, steps, form):
    try:
        run_state_machine_as_test(
            StoreMachine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                derandomize=form == "short",
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
    except BaseException as error:
        TALLY.add("wrong", repr(error))
        raise
    finally:
        TALLY.save(form)


def test_some_histories(small):
    check(25, 25, "short")


@pytest.mark.integration
@pytest.mark.timeout(3600)
def test_many_histories(small):
    check(1500, 50, "long")
