"""docs/architecture.md walks one checkpoint through the code; the walk is what happens."""

import re
import sys
import threading
from pathlib import Path

import keras
import pytest

import kept
from tests.training.helpers import make_data, make_model

pytestmark = pytest.mark.any_framework
PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"
SOURCE = Path(kept.__file__).parent
STOP = re.compile(r"^\d+\. `([\w/]+\.py)`: `(\w+)`", re.MULTILINE)


class Trace(keras.callbacks.Callback):
    """Notes the calls of kept, on all threads, from the start of a hook until all is durable."""

    def __init__(self, checkpoint):
        super().__init__()
        self.calls = []
        self.checkpoint = checkpoint

    def note(self, frame, event, _):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(SOURCE)):
            file = Path(code.co_filename).relative_to(SOURCE).as_posix()
            self.calls.append((file, code.co_name))

    def on_epoch_end(self, epoch, logs=None):
        self.checkpoint.wait()  # the writer's next job then starts a new thread
        threading.setprofile(self.note)
        sys.setprofile(self.note)


class Stop(keras.callbacks.Callback):
    def __init__(self, checkpoint):
        super().__init__()
        self.checkpoint = checkpoint

    def on_epoch_end(self, epoch, logs=None):
        self.checkpoint.wait()
        sys.setprofile(None)
        threading.setprofile(None)


def test_the_walk_is_what_happens(tmp_path):
    checkpoint = kept.ModelCheckpoint(tmp_path / "m.keras", store=tmp_path / "store", name="m")
    trace = Trace(checkpoint)
    callbacks = [trace, checkpoint, Stop(checkpoint)]
    make_model().fit(*make_data(), epochs=1, verbose=0, callbacks=callbacks)
    stops = STOP.findall(PAGE.read_text())
    assert 0 < len(stops) <= 12
    assert len({file for file, _ in stops}) == len(stops), "each file once"
    first = [trace.calls.index(stop) for stop in stops]  # an unknown stop raises ValueError
    # The writer thread begins when it gets the job: stops after that are in order among themselves.
    assert first == sorted(first)
