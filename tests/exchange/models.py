"""Exports in processes of their own, because a process has one framework.

python -m tests.exchange.models STORE REF FORMAT PATH: export a version, and print what the model
predicts for INPUT.
"""

from __future__ import annotations

import json
import sys

import kept

INPUT = [[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8], [-1.0, 0.0, 1.0, 2.0]]

if __name__ == "__main__":
    location, reference, format, path = sys.argv[1:]
    version = kept.open_store(location)[reference]
    kept.export_model(version, path, format)
    import numpy as np

    model = version.load_model(compile=False)
    print(json.dumps(model.predict(np.array(INPUT, "float32"), verbose=0).tolist()))
