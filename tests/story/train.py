"""Train a small network on digits: `python train.py STORE FOLDER SEED`."""

import os
import sys

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
from sklearn.datasets import load_digits

import kept

store, folder, seed = sys.argv[1:]
images, labels = load_digits(return_X_y=True)
images = images.astype("float32") / 16
keras.utils.set_random_seed(int(seed))
model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10, activation="softmax")])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
digits = kept.Source("https://example.org/digits.csv.gz", "sha256:" + "0" * 64)
callback = kept.ModelCheckpoint(
    f"{folder}/model.keras",
    monitor="val_loss",
    store=store,
    name="digits",
    uses=[digits],
    on_commit=lambda version: {"size_mb": version.size / 1e6},
)
model.fit(images[:1400], labels[:1400], validation_data=(images[1400:], labels[1400:]), epochs=2,
          batch_size=64, verbose=0, callbacks=[callback])  # fmt: skip
