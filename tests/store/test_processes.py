"""Many writers at once, and writers that are killed."""

import contextlib
import random
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import kept
from kept.errors import ArtifactNotFound
from tests.helpers import finish, start, tree, write

MANY = """
import sys, kept
from pathlib import Path
where, who, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
store = kept.open_store(where / "store")
for n in range(count):
    path = where / who / "model.bin"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"%s %d " % (who.encode(), n) * 200)
    version = store.log_artifact("m", path, aliases=[f"{who}_{n}", "best"], metadata={"n": n})
    print(version.reference, flush=True)
"""


def test_eight_processes_log_twenty_five_versions_each(tmp_path):
    writers = [start(MANY, tmp_path, f"w{n}", 25) for n in range(8)]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    printed = [finish(writer) for writer in writers]
    store = kept.open_store(tmp_path / "store")
    versions = store.versions("m")
    assert [version.index for version in versions] == list(range(200))
    assert sorted(line for lines in printed for line in lines) == sorted(
        v.reference for v in versions
    )
    for who, lines in enumerate(printed):
        for n, reference in enumerate(lines):
            version = store[f"m:w{who}_{n}"]
            assert (version.reference, version.metadata) == (reference, {"n": n})
    assert "best" in store.version("m").aliases
    report = store.verify()
    assert (report.versions, report.problems) == (200, [])
    for version in versions[::40]:
        content = tree(version.download(tmp_path / "out"))["model.bin"]
        assert content.startswith(
            b"w%s %d " % (version.aliases[-1][1:2].encode(), version.metadata["n"])
        )


def test_threads_on_one_store_object(tmp_path):
    store = kept.open_store(tmp_path / "store")

    def work(who):
        versions = []
        for n in range(10):
            path = write(tmp_path / f"{who}" / "model.bin", b"%d %d " % (who, n) * 100)
            versions.append(store.log_artifact("m", path, aliases=[f"w{who}_{n}"]))
            assert store[f"m:w{who}_{n}"] == versions[-1]
            store.log_artifact(f"own_{who}", path)
        return versions

    with ThreadPoolExecutor(8) as pool:
        versions = [version for found in pool.map(work, range(8)) for version in found]
    assert sorted(version.index for version in versions) == list(range(80))
    assert len(store.artifacts()) == 9
    assert kept.open_store(tmp_path / "store").verify().versions == 160


def test_readers_see_whole_versions_while_others_write(tmp_path):
    writer = start(MANY, tmp_path, "w", 60)
    writer.stdout.readline()
    writer.stdin.write("go\n")
    writer.stdin.flush()
    seen = 0
    while writer.poll() is None:
        store = kept.open_store(tmp_path / "store")
        if store.artifacts():
            version = store.version("m")
            assert version.verify().bytes == version.size
            assert version.aliases == ("latest", "best", f"w_{version.index}")
            assert version.index >= seen
            seen = version.index
    assert len(finish(writer)) == 60


ENDLESS = """
import itertools, os, sys, kept
path = sys.argv[2]
store = kept.open_store(sys.argv[1])
for n in itertools.count():
    with open(path, "wb") as file:
        file.write(os.urandom(3000) + bytes(1_100_000 if n % 5 == 0 else 0) + os.urandom(10))
    version = store.log_artifact("m", path, aliases=["best", f"run_{sys.argv[3]}_{n}"])
    print(version.reference, flush=True)
"""


def test_a_process_killed_at_random_moments(tmp_path):
    choose = random.Random(1)
    returned: list[str] = []
    location = tmp_path / "store"
    for kill in range(25):
        writer = start(ENDLESS, location, tmp_path / "model.bin", kill)
        # Some die before their first version, most in the midst of others.
        lines = choose.choice([0, 1, 1, 2, 5])
        returned += [writer.stdout.readline().strip() for _ in range(lines)]
        with contextlib.suppress(subprocess.TimeoutExpired):  # it runs until it is killed
            writer.wait(choose.uniform(0, 0.12))
        writer.send_signal(signal.SIGKILL)
        rest, _ = writer.communicate()
        assert writer.returncode == -signal.SIGKILL
        returned += [line.strip() for line in rest.splitlines(keepends=True) if line.endswith("\n")]
        try:
            versions = kept.open_store(location).versions("m")
        except ArtifactNotFound:
            versions = []
        assert [version.index for version in versions] == list(range(len(versions)))
        assert {version.reference for version in versions} >= set(returned)
        for version in versions[-2:]:
            version.verify()
    assert len(returned) == len(set(returned)) > 25
    store = kept.open_store(location)
    report = store.verify()
    assert report.problems == []
    assert report.versions == len(store.versions("m"))
    # What the dead left in the way of temporary files does not hinder the living.
    assert store.log_artifact("m", write(tmp_path / "f", b"alive")).index == report.versions
