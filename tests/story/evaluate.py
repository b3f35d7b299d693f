"""Evaluate the checkpoint that kept evaluate hands over, without Keras, and print its metrics."""

import io
import json
import os
import zipfile

import h5py
import numpy as np
from sklearn.datasets import load_digits

images, labels = load_digits(return_X_y=True)
with zipfile.ZipFile(os.environ["KEPT_CHECKPOINT"]) as archive:
    weights = h5py.File(io.BytesIO(archive.read("model.weights.h5")))
    kernel, bias = (np.asarray(weights[f"layers/dense/vars/{n}"]) for n in (0, 1))
scores = images[1600:] / 16 @ kernel + bias
print("evaluating", os.environ["KEPT_REFERENCE"])
print(json.dumps({"test_acc": float(np.mean(scores.argmax(1) == labels[1600:]))}))
