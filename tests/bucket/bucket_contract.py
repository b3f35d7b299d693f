"""What every bucket has to do: the docstrings of kept.bucket.base, sentence by sentence."""

from __future__ import annotations

import random
import threading
import time
from array import array
from concurrent.futures import ThreadPoolExecutor

import pytest

from kept.errors import KeyExists, KeyNotFound, Unreadable


class BucketContract:
    """Subclasses provide the fixture `bucket`: an empty one."""

    def test_location_is_text(self, bucket):
        assert isinstance(bucket.location, str)

    @pytest.mark.parametrize(
        "parts",
        [
            [b"one"],
            [],
            [b""],
            [b"", b"head", b"", bytearray(b"er"), memoryview(b"and body"), b""],
            [memoryview(array("f", [1.0, 2.0, 3.0]))],
            [memoryview(b"abcdef").cast("B", (2, 3))],
            [b"%d," % n for n in range(5000)],
            [bytes(3_000_000), b"x" * 3_000_001],
        ],
        ids=["one", "none", "empty", "mixed", "floats", "2-d", "5000 parts", "large"],
    )
    def test_a_value_is_its_parts_one_after_the_other(self, bucket, parts):
        value = b"".join(parts)
        bucket.put("put", parts)
        bucket.put_many([("many/1", parts), ("many/2", parts)])
        bucket.put_if_absent("absent", parts)
        for key in ("put", "many/1", "many/2", "absent"):
            assert bucket.get(key) == value
            assert bucket.size(key) == len(value)

    def test_put_and_put_many_replace(self, bucket):
        bucket.put("a", [b"a long first value"])
        bucket.put("a", [b"short"])
        assert bucket.get("a") == b"short"
        bucket.put_many([("a", [b"third"])])
        assert bucket.get("a") == b"third"
        assert list(bucket.keys("")) == ["a"]

    def test_put_is_atomic_for_readers(self, bucket):
        values = [bytes([n]) * 300_000 for n in range(2)]
        bucket.put("a", [values[0]])
        done = threading.Event()

        def read():
            seen = set()
            while not done.is_set():
                seen.add(bytes(bucket.get("a")))
            return seen

        with ThreadPoolExecutor(2) as pool:
            readers = [pool.submit(read) for _ in range(2)]
            for n in range(40):
                bucket.put("a", [values[n % 2][:100_000], values[n % 2][100_000:]])
            done.set()
        assert all(reader.result() <= set(values) for reader in readers)

    def test_put_many_stores_all(self, bucket):
        items = {f"blobs/{n % 7:02d}/{n}": bytes([n]) * n for n in range(100)}
        bucket.put_many((key, [value]) for key, value in items.items())
        assert {key: bucket.get(key) for key in bucket.keys("")} == items
        bucket.put_many([])

    def test_put_many_consumes_as_room_allows(self, bucket):
        alive: set[int] = set()
        most = 0

        class Tracked(bytearray):
            def __del__(self):
                alive.discard(id(self))

        def items():
            nonlocal most
            for n in range(200):
                value = Tracked(b"value")
                alive.add(id(value))
                most = max(most, len(alive))
                yield f"k{n}", [value]
                del value

        bucket.put_many(items())
        assert len(list(bucket.keys(""))) == 200
        assert most < 20

    def test_put_many_raises_what_the_iterable_raises(self, bucket):
        def items():
            yield "a", [b"whole"]
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            bucket.put_many(items())
        assert {key: bucket.get(key) for key in bucket.keys("")} in ({}, {"a": b"whole"})

    def test_put_if_absent_keeps_an_existing_value(self, bucket):
        bucket.put_if_absent("a/b", [b"first"])
        with pytest.raises(KeyExists, match="a/b"):
            bucket.put_if_absent("a/b", [b"second"])
        bucket.put("a/c", [b""])
        with pytest.raises(KeyExists):
            bucket.put_if_absent("a/c", [b"an empty value is a value"])
        assert (bucket.get("a/b"), bucket.get("a/c")) == (b"first", b"")

    def test_exactly_one_of_racing_put_if_absent_wins(self, bucket):
        racers, rounds = 8, 25
        barrier = threading.Barrier(racers)

        def race(racer):
            won = set()
            for key in range(rounds):
                barrier.wait()
                try:
                    bucket.put_if_absent(f"log/{key}", [b"racer ", str(racer).encode()])
                except KeyExists:
                    assert bytes(bucket.get(f"log/{key}")).startswith(b"racer ")
                else:
                    won.add(key)
            return won

        with ThreadPoolExecutor(racers) as pool:
            wins = list(pool.map(race, range(racers)))
        for key in range(rounds):
            winners = [racer for racer, won in enumerate(wins) if key in won]
            assert [b"racer %d" % w for w in winners] == [bucket.get(f"log/{key}")]

    @pytest.mark.parametrize(
        ("start", "length", "expected"),
        [
            (0, None, b"0123456789"),
            (4, None, b"456789"),
            (10, None, b""),
            (11, None, b""),
            (0, 0, b""),
            (2, 3, b"234"),
            (8, 5, b"89"),
            (10, 1, b""),
            (99, 1, b""),
            (0, 1 << 60, b"0123456789"),
        ],
    )
    def test_get_ranges(self, bucket, start, length, expected):
        bucket.put("k", [b"01234", b"56789"])
        assert bucket.get("k", start, length) == expected

    def test_missing_keys(self, bucket):
        bucket.put("folder/file", [b"x"])
        for key in ("missing", "folder/other", "other/file"):
            with pytest.raises(KeyNotFound, match=key):
                bucket.get(key)
            with pytest.raises(KeyNotFound):
                bucket.get(key, 0, 1)
            assert bucket.size(key) is None
            bucket.delete(key)
        for key in ("folder", "folder/file/below"):  # a key is never also a folder
            with pytest.raises((KeyNotFound, Unreadable), match=key.partition("/")[0]):
                bucket.get(key)
            bucket.delete(key)
        assert bucket.get("folder/file") == b"x"

    def test_delete(self, bucket):
        bucket.put("a/b", [b"x"])
        bucket.delete("a/b")
        bucket.delete("a/b")
        assert bucket.size("a/b") is None
        assert list(bucket.keys("")) == list(bucket.keys("a/")) == list(bucket.folders("")) == []
        bucket.put_if_absent("a/b", [b"again"])
        assert bucket.get("a/b") == b"again"

    def test_move(self, bucket):
        bucket.put("a/b", [b"moved"])
        bucket.put("taken", [b"stays"])
        bucket.move("a/b", "damaged/1/b")
        assert {key: bucket.get(key) for key in bucket.keys("")} == {
            "damaged/1/b": b"moved",
            "taken": b"stays",
        }
        with pytest.raises(KeyExists, match="taken"):
            bucket.move("damaged/1/b", "taken")
        with pytest.raises(KeyNotFound, match="missing"):
            bucket.move("missing/key", "anywhere")
        assert list(bucket.keys("")) == ["damaged/1/b", "taken"]
        assert bucket.get("taken") == b"stays"

    def test_an_empty_bucket(self, bucket):
        assert list(bucket.keys("")) == list(bucket.folders("")) == []
        assert list(bucket.keys("no/")) == list(bucket.folders("no/")) == []

    def test_listings_agree_with_a_dict(self, bucket):
        # The parts are such that the order of keys is not the order of folders: a-b/ < a/ < a0/.
        choose = random.Random(1)
        names, files = ["a", "a-b", "a.b", "a0", "A", "_", "ab", "9"], ["x", "x-y", "X.json", "0"]
        model: dict[str, bytes] = {}
        for n in range(120):
            depth = choose.randrange(3)
            key = "/".join([*(choose.choice(names) for _ in range(depth)), choose.choice(files)])
            if choose.random() < 0.3:
                bucket.delete(key)
                model.pop(key, None)
            else:
                bucket.put(key, [b"%d" % n])
                model[key] = b"%d" % n
        for prefix in ("", "a/", "a-b/", "A/", "a/a/", "ab/_/", "zz/"):
            inside = sorted(key for key in model if key.startswith(prefix))
            folders = {
                key[len(prefix) :].split("/")[0] for key in inside if "/" in key[len(prefix) :]
            }
            assert list(bucket.keys(prefix)) == inside
            for after in ("", "0", "a", "a/", "a/x", "a-b/x", "a0", "a/a/x", "ab/_/x-y", "zzz"):
                assert list(bucket.keys(prefix, after)) == [key for key in inside if key > after]
            below = sorted({key[len(prefix) :].partition("/")[0] for key in inside})
            for after in ("", "0", "a", "a/", "ab", "zzz"):
                found = list(bucket.names(prefix, after))
                assert found == sorted(found)
                assert [n for n in found if n in below] == [n for n in below if n > after]
            assert list(bucket.folders(prefix)) == sorted(folders)
        assert {key: bucket.get(key) for key in bucket.keys("")} == model

    def test_items_are_keys_with_sizes(self, bucket):
        for n, key in enumerate(["a/b", "a/c", "a/d/e", "f"]):
            bucket.put(key, [b"x" * n])
        bucket.put("a/c", [b"longer"])
        bucket.delete("a/d/e")
        assert [(i.key, i.size) for i in bucket.items("a/")] == [("a/b", 0), ("a/c", 6)]
        assert [i.key for i in bucket.items("")] == list(bucket.keys(""))
        assert [i.key for i in bucket.items("a/", "a/b")] == ["a/c"]
        assert list(bucket.items("no/")) == []

    def test_items_have_the_time_of_the_last_put(self, bucket):
        bucket.put("first", [b"x"])
        bucket.put("again", [b"x"])
        time.sleep(1.1)  # object storage counts whole seconds
        bucket.put_if_absent("second", [b"x"])
        bucket.put_many([("again", [b"x"])])
        bucket.get("first")
        stored = {item.key: item.stored for item in bucket.items("")}
        assert stored["first"] < min(stored["second"], stored["again"])
        assert stored["again"] - stored["first"] < 60
        assert abs(stored["second"] - time.time()) < 60  # seconds since 1970

    def test_a_lock_is_held_by_one_at_a_time(self, bucket):
        with bucket.locked("a") as held, bucket.locked("a") as again, bucket.locked("b") as other:
            assert (again, other) == (False, held)
        with bucket.locked("a", wait=True) as later:
            assert later == held
        assert list(bucket.keys("")) == []

    def test_who_waits_for_a_lock_gets_it_when_it_is_free(self, bucket):
        order = []

        def wait():
            with bucket.locked("a", wait=True) as held:
                order.append(held)

        with bucket.locked("a") as held:
            thread = threading.Thread(target=wait)
            thread.start()
            thread.join(0.1)
            assert order == ([] if held else [False])  # there are none in object storage
        thread.join()
        assert order == [held]
