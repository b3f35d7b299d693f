"""load_model of a version that holds weights only says how to load them."""

import sys

import pytest

import kept
from kept.errors import InvalidInput


@pytest.mark.parametrize(
    ("paths", "metadata", "named"),
    [
        (["m.weights.h5"], {}, "m.weights.h5"),
        (["m.h5"], {"format": "h5_weights"}, "m.h5"),  # of tf_keras
        (["checkpoint", "ckpt.index", "ckpt.data-00000-of-00001"], {}, "ckpt.index"),
    ],
)
def test_weights_only(paths, metadata, named, monkeypatch):
    store = kept.open_store("memory:")
    files = [kept.MemoryFile(path, [b"0" * 100]) for path in paths]
    version = store.log_artifact("m", files, metadata=metadata)
    monkeypatch.setitem(sys.modules, "keras", None)  # the answer needs no Keras
    with pytest.raises(InvalidInput) as caught:
        version.load_model()
    assert f"m:v0 holds weights only, in {named}." in str(caught.value)
    assert "version.load_weights(model)" in str(caught.value)


def test_neither_weights_nor_a_model():
    store = kept.open_store("memory:")
    version = store.log_artifact("m", kept.MemoryFile("notes.txt", [b"x"]))
    with pytest.raises(InvalidInput, match=r"It holds: notes\.txt"):
        version.load_model()
