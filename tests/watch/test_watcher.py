"""A watcher sends each event at least once, in order per artifact, and marks what may be double."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import kept
from kept.errors import Damaged, InvalidInput, KeptError, StoreReplaced
from kept.watch import cursor as cursors
from kept.watch import feed as feeds
from kept.watch import watcher
from kept.watch.cursor import held
from kept.watch.events import Wanted
from kept.watch.feed import Feed
from kept.watch.target import Outcome, Result, Stop

FAILED, REFUSED = Outcome(Result.FAILED, "no answer"), Outcome(Result.REFUSED, "not found")


def test_a_new_watcher_begins_with_what_happens_from_now_on(store, put, noted, look):
    put(store)
    look(store, noted)
    put(store)
    put(store, "later")
    look(store, noted, kinds=["commit"])
    assert [(h.reference, again) for h, again in noted.got] == [
        ("later:v0", False),
        ("m:v1", False),
    ]


def test_from_the_start_counts_for_a_new_watcher_only(store, put, noted, look):
    put(store)
    for _ in range(2):
        look(store, noted, from_start=True)
    assert len(noted.got) == 1


def test_a_failure_keeps_the_order_of_its_artifact_and_stops_no_other(
    store, put, noted, look, capsys
):
    for name in ("a", "a", "b"):
        put(store, name)
    noted.outcomes = [FAILED]
    counts = look(store, noted, from_start=True)
    assert (counts.sent, counts.waiting) == (1, 1)
    assert [h.reference for h, _ in noted.got] == ["a:v0", "b:v0"]
    assert "a:v0 commit: no answer" in capsys.readouterr().err
    assert look(store, noted).sent == 2
    assert [(h.reference, again) for h, again in noted.got[2:]] == [("a:v0", True), ("a:v1", False)]


def test_an_event_is_given_up_after_its_attempts_over_restarts(store, put, noted, look, capsys):
    put(store)
    put(store)
    noted.attempts = 3
    noted.outcomes = [FAILED] * 3
    counts = [look(store, noted, from_start=True) for _ in range(3)]
    assert [count.given_up for count in counts] == [0, 0, 1]
    assert [(h.reference, again) for h, again in noted.got] == [
        ("m:v0", False), ("m:v0", True), ("m:v0", True), ("m:v1", False),
    ]  # fmt: skip
    assert "m:v0 commit is given up: no answer" in capsys.readouterr().err


def test_what_is_refused_is_not_sent_again(store, put, noted, look):
    put(store)
    put(store)
    noted.outcomes = [REFUSED]
    counts = look(store, noted, from_start=True)
    assert (counts.sent, counts.given_up, counts.waiting) == (1, 1, 0)
    assert look(store, noted).sent == 0


def test_an_end_within_a_record_sends_only_the_rest(store, put, noted, look):
    put(store, aliases=["a", "b"])
    noted.outcomes = [Outcome(Result.SENT), Outcome(Result.STOPPED)]
    look(store, noted, from_start=True)
    look(store, noted)
    assert [(h.kind, h.facts.get("alias"), again) for h, again in noted.got] == [
        ("commit", None, False), ("alias", "a", False), ("alias", "a", True), ("alias", "b", False),
    ]  # fmt: skip


def test_a_killed_watcher_marks_what_it_sends_again(store, put, noted, look):
    class Killed(BaseException):
        """In the place of SIGKILL: no code of the watcher runs after it."""

    def die(happening, *, again):
        raise Killed

    put(store)
    send, noted.send = noted.send, die
    with pytest.raises(Killed):
        look(store, noted, from_start=True)
    noted.send = send
    look(store, noted)
    assert [(h.reference, again) for h, again in noted.got] == [("m:v0", True)]


def test_a_damaged_record_holds_back_what_comes_after_it(store, put, noted, look, capsys):
    for _ in range(2):
        put(store)
    look(store, noted)
    for _ in range(2):
        put(store)
    path = Path(store.location, store.log("m").records.key(3))
    sound = path.read_bytes()
    path.write_bytes(b"{}")
    again = kept.open_store(store.location)
    put(again, "other")
    counts = look(again, noted)
    assert [h.reference for h, _ in noted.got] == ["other:v0"]
    assert "Later events wait" in capsys.readouterr().err
    assert not counts.is_complete
    path.write_bytes(sound)
    look(kept.open_store(store.location), noted)
    assert [h.reference for h, _ in noted.got] == ["other:v0", "m:v2", "m:v3"]


def test_one_artifact_that_was_restored_stops_no_other(store, put, noted, look, tmp_path, capsys):
    for name in ("m", "z"):
        put(store, name)
    folder = Path(store.location, "artifacts", "m")
    shutil.copytree(folder, tmp_path / "copy")
    put(store)
    look(store, noted)
    for more in (0, 2):
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "copy", folder)
        restored = kept.open_store(store.location)
        for _ in range(more):
            put(restored)
        put(restored, "z")
        counts = look(restored, noted)
        assert (counts.sent, counts.waiting, counts.is_complete) == (1, 1, False)
        said = capsys.readouterr().err
        assert "restored from an older copy" in said
        assert "--restart m" in said
    assert [h.artifact for h, _ in noted.got] == ["z", "z"]
    assert look(restored, noted, restart=["m"]).is_complete
    put(restored)
    look(restored, noted)
    assert [h.reference for h, _ in noted.got[2:]] == ["m:v3"]
    assert look(restored, noted, restart=["m"], from_start=True).sent == 4


def test_another_store_in_the_same_place_ends_the_watcher(store, put, noted, look, tmp_path):
    put(store)
    put(store)
    look(store, noted)
    other = kept.open_store(tmp_path / "other")
    put(other)
    shutil.rmtree(store.location)
    shutil.copytree(other.location, store.location)
    with pytest.raises(StoreReplaced):
        look(store, noted)


def test_the_pause_does_not_grow_with_what_the_target_took(store, put, noted, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(watcher.time, "monotonic", lambda: clock[0])
    send, pauses = noted.send, []

    def slow(happening, *, again):
        clock[0] += 3600
        return send(happening, again=again)

    class Stops(Stop):
        def wait(self, seconds):
            pauses.append(seconds)
            self.set()

    noted.send = slow
    put(store)
    cursor = cursors.Cursor(cursors.store_id(store), "*")
    wanted = Wanted(frozenset({"commit"}))
    following = watcher.Watcher(Feed(store, wanted), cursor, noted, Stops())
    following.begin(from_start=True)
    following.run(2.0)
    assert pauses == [2.0]


def test_memory_does_not_grow_with_the_log(store, put, noted, monkeypatch):
    monkeypatch.setattr(feeds, "_REMEMBERED", 4)
    reader = kept.open_store(store.location)
    cursor = cursors.Cursor(cursors.store_id(reader), "*")
    wanted = Wanted(frozenset({"commit"}))
    following = watcher.Watcher(Feed(reader, wanted), cursor, noted, Stop())
    following.begin(from_start=True)
    for _ in range(40):
        put(store)
        following.look()
        known = reader.log("m").known
        assert known is None or len(known.tail) <= 4
    assert len(noted.got) == 40


def test_reading_changes_nothing_in_the_store(store, put, noted, look):
    put(store)

    def state():
        files = (path for path in Path(store.location).rglob("*"))
        return {path: path.stat().st_mtime_ns for path in files}

    before = state()
    look(kept.open_store(store.location), noted, from_start=True)
    assert state() == before
    assert len(noted.got) == 1


def test_the_cursor_of_another_store_is_refused(store, put, noted, look, tmp_path):
    look(store, noted)
    other = kept.open_store(tmp_path / "another")
    put(other)
    with pytest.raises(InvalidInput, match=r"another store.*--name or --state, or remove"):
        look(other, noted)
    with pytest.raises(InvalidInput, match=r"for the artifacts '\*'\. Received: 'a\*'"):
        look(store, noted, names="a*")
    assert noted.got == []


@pytest.mark.parametrize("data", [b"", b"{}", b'{"blake3":"0","value":{}}', b"\xff\xfe"])
def test_a_damaged_cursor_is_refused(store, noted, look, tmp_path, data):
    (tmp_path / "cursor.json").write_bytes(data)
    with pytest.raises(Damaged, match=r"cursor\.json"):
        look(store, noted)


def test_two_watchers_of_one_name(store, noted, look, tmp_path):
    with (
        held(store, "*", str(tmp_path / "cursor.json")),
        pytest.raises(InvalidInput, match="Another watcher uses"),
    ):
        look(store, noted)
    look(store, noted)


def test_nothing_is_sent_if_the_cursor_cannot_be_written(store, put, noted, look, monkeypatch):
    look(store, noted)
    put(store)

    def full(path, parts):
        raise OSError(28, "No space left on device", path)

    with monkeypatch.context() as patch:
        patch.setattr(cursors, "write_file", full)
        with pytest.raises(KeptError, match=r"cannot be written: No space left"):
            look(store, noted)
    assert noted.got == []
    look(store, noted)
    assert [again for _, again in noted.got] == [False]


def test_a_place_where_no_cursor_can_be(store, noted, look, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KeptError, match=r"Not a directory.*--state"):
        look(store, noted, path=tmp_path / "file" / "below" / "cursor.json")


def test_the_cursor_is_small_and_readable(store, put, noted, look, tmp_path):
    put(store)
    look(store, noted, from_start=True)
    value = json.loads((tmp_path / "cursor.json").read_bytes())["value"]
    [record] = store.log("m").view().backwards()
    position = {"record": 1, "write_id": record["write_id"], "sent": [], "moved_to": ""}
    assert value["positions"] == {"m": position | {"first": record["write_id"]}}
    assert value["tries"] == {}
