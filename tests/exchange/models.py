"""Exports in processes of their own, because a process has one framework.

python -m tests.exchange.models STORE REF FOLDER FORMAT...: export a version to each format, and
print what the model predicts for INPUT, and what TensorFlow predicts with the files.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

import kept
from kept.exchange.exporting.formats import format_of

INPUT = [[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8], [-1.0, 0.0, 1.0, 2.0]]


def _given():
    return np.array(INPUT, "float32")


def of_saved_model(path):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    return loaded.serve(_given()).numpy()


def of_litert(path):
    import tensorflow as tf

    found = tf.lite.Interpreter(str(path))
    [given] = found.get_input_details()
    found.resize_tensor_input(given["index"], (3, 4))
    found.allocate_tensors()
    found.set_tensor(given["index"], _given())
    found.invoke()
    return found.get_tensor(found.get_output_details()[0]["index"])


BY_TENSORFLOW = {"saved_model": of_saved_model, "litert": of_litert}


def main(location, reference, folder, *names):
    version = kept.open_store(location)[reference]
    paths = {name: Path(folder, f"m{format_of(name).ending}") for name in names}
    for name, path in paths.items():
        kept.export_model(version, path, name)
    model = version.load_model(compile=False)
    found = {"model": model.predict(_given(), verbose=0)}
    for name in BY_TENSORFLOW.keys() & paths.keys():
        found[name] = BY_TENSORFLOW[name](paths[name])
    print(json.dumps({name: values.tolist() for name, values in found.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
