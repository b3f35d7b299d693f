"""Training that ends badly: what was saved before is finished and durable, and told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import kept
from tests.training.helpers import content, content_of

ROOT = Path(__file__).parents[3]


def run(code, *arguments, **options):
    without = "" if keras.backend.backend() == "tensorflow" else "sys.modules['tensorflow'] = None"
    return subprocess.Popen(
        [sys.executable, "-c", f"import sys\n{without}\n{code}", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        **options,
    )


ON_JAX = keras.backend.backend() == "jax"

# The writer is held until the process is ending and has told that it waits.
ENDED = """
import contextlib, os, signal, sys, threading
import kept
from kept.training.save import write_checkpoint, writer
from tests.training.helpers import *

how = sys.argv[1]
told, real_write, real_notice = threading.Event(), write_checkpoint.write_snapshot, writer._notice
writer._NOTICE_AFTER = 0.1

def late(*args, **options):
    assert told.wait(PATIENCE)
    return real_write(*args, **options)

@contextlib.contextmanager
def notice(*args):
    with real_notice(*args) as show:
        told.set()
        yield show

write_checkpoint.write_snapshot, writer._notice = late, notice

class End(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch < 2:
            return
        if how == "exception":
            raise RuntimeError("out of luck")
        if how == "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
        if how == "exit":
            sys.exit(3)

callback = kept.ModelCheckpoint("m.keras", save_freq=2, name="m")
live = LiveSave("live", ".keras", each="batch")
try:
    fit(make_model(), make_data(), live, callback, End())
finally:
    own = [t.name for t in threading.enumerate() if t.name.startswith("kept") and not t.daemon]
    print("own threads", own, "pending", callback._controller.saver.writer.pending, flush=True)
"""

KILLED = """
import sys, time
import kept
from kept.bucket.local import LocalBucket
from kept.training.save import publish, write_checkpoint
from tests.training.helpers import *

def hang():
    print("now", flush=True)
    time.sleep(PATIENCE)

def in_the_file(model, snapshot, path, **options):
    Path(path).write_bytes(b"half a file")
    hang()

def in_the_published_file(path, parts):
    Path(path).write_bytes(b"half a file")
    hang()

real_put = LocalBucket.put_if_absent

def before_the_record(self, key, *args, **options):
    if "/log/" in key:
        hang()
    return real_put(self, key, *args, **options)

def before_the_file(*_):
    hang()

model = make_model()
callback = kept.ModelCheckpoint("m.keras", name="m")
play([callback], [{}, {}], model=model)
match sys.argv[1]:
    case "file":
        write_checkpoint.write_snapshot = in_the_file
    case "record":
        LocalBucket.put_if_absent = before_the_record
    case "publish":
        write_checkpoint.publish = before_the_file
    case "publishing":
        publish.write_file = in_the_published_file
play([callback], [{}], model=model, start=2)
"""


def test_a_fit_that_ends_badly_finishes_its_saves():
    """All ways at once, because starting a process with a framework takes seconds."""
    processes = {}
    for how in ("exception", "interrupt", "exit") if ON_JAX else ("exception",):
        Path(how).mkdir()
        processes[how] = run(ENDED, how, cwd=how)
    for how, process in processes.items():
        out, err = process.communicate(timeout=240)
        assert process.returncode == 3 if how == "exit" else process.returncode != 0, err
        assert "own threads [] pending" in out
        assert "pending 0" not in out
        assert "kept: writing the last checkpoints, " in err
        assert "kept: the last checkpoints are written" in err
        (version,) = kept.open_store(f"{how}/kept-store").versions("m")
        assert version.aliases == ("latest", "epoch_0_batch_1")
        assert version.verify().ok
        assert content(f"{how}/m.keras") == content_of(version, f"{how}/out")
        assert content(f"{how}/m.keras") == content(f"{how}/live/1/m.keras")


@pytest.mark.skipif(not ON_JAX, reason="the same on every framework, and slow")
@pytest.mark.parametrize(
    ("where", "versions"), [("file", 2), ("record", 2), ("publish", 3), ("publishing", 3)]
)
def test_killed_while_writing(where, versions, killed, tmp_path):
    store = kept.open_store(killed / where / "kept-store")
    assert len(store.versions("m")) == versions
    assert store.verify().ok
    assert content(killed / where / "m.keras") == content_of(store["m:v1"], tmp_path)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Folders of processes that were killed at their worst moments, with a store in each."""
    folder = tmp_path_factory.mktemp("killed")
    processes = []
    for where in ("file", "record", "publish", "publishing"):
        (folder / where).mkdir()
        processes.append(run(KILLED, where, cwd=folder / where))
    for process in processes:
        reached = "now\n" in iter(process.stdout.readline, "")
        process.kill()
        _, err = process.communicate()
        assert reached, err
    return folder
