"""A rejected entry that is sent after all takes no alias from later entries."""

from __future__ import annotations

import pytest

from kept.sync.outbox.outbox import Outbox
from kept.sync.outbox.rejected import aliases_of, note_later, reject, rejection_of
from tests.helpers import write


@pytest.fixture
def add(tmp_path):
    outbox = Outbox(tmp_path / "outbox")

    def add(*aliases, artifact="m"):
        file = write(tmp_path / "f", b"x")
        return outbox.add("there", {"f": file}, {"artifact": artifact, "aliases": list(aliases)})

    return add


def test_a_later_entry_takes_the_aliases_that_both_have(add):
    rejected, sent = add("epoch_0", "best", "latest"), add("epoch_1", "best", "latest")
    reject(rejected, "no")
    note_later([rejected], sent)
    assert aliases_of(rejected) == ["epoch_0"]
    assert rejection_of(rejected).reason == "no"


def test_several_later_entries_add_up_and_a_second_rejection_keeps_them(add):
    rejected = add("a", "b", "c")
    reject(rejected, "no")
    note_later([rejected], add("b"))
    note_later([rejected], add("a"))
    reject(rejected, "still no")
    assert aliases_of(rejected) == ["c"]
    assert rejection_of(rejected).reason == "still no"


def test_an_earlier_entry_takes_nothing(add):
    sent, rejected = add("best"), add("best")
    reject(rejected, "no")
    note_later([rejected], sent)
    assert aliases_of(rejected) == ["best"]


def test_an_entry_of_another_artifact_takes_nothing(add):
    rejected, sent = add("best"), add("best", artifact="other")
    reject(rejected, "no")
    note_later([rejected], sent)
    assert aliases_of(rejected) == ["best"]


def test_an_entry_that_was_never_rejected_has_all_its_aliases(add):
    entry = add("best")
    note_later([entry], add("best"))
    assert aliases_of(entry) == ["best"]
    assert rejection_of(entry) is None
