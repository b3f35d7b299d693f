"""Train a small network on real images and keep every checkpoint.

The data is scikit-learn's digits: 1,797 images of handwritten digits, 8 by 8 pixels. `make demo`
runs it. The store stays in ./kept-demo/store; the kept command shows its content.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import kept

FOLDER = Path("kept-demo")
STORE = FOLDER / "store"
NAME = "digits-cnn"


def load_data():
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8, 1).astype("float32") / 16
    return train_test_split(images, labels, test_size=0.25, random_state=0, stratify=labels)


def build_model() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(64, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def train() -> None:
    x_train, x_test, y_train, y_test = load_data()
    keras.utils.set_random_seed(0)
    checkpoint = kept.ModelCheckpoint(
        FOLDER / "checkpoints" / "{epoch:02d}-{val_loss:.2f}.keras",
        monitor="val_loss",
        store=STORE,
        name=NAME,
    )
    build_model().fit(
        x_train,
        y_train,
        validation_data=(x_test, y_test),
        batch_size=64,
        epochs=10,
        callbacks=[checkpoint],
        verbose=2,
    )
    print(f"\n{len(checkpoint.versions)} checkpoints, {len(checkpoint.versions)} versions.")


def show(*arguments: str) -> None:
    """Run the kept command as a user would."""
    print(f"\n$ kept --store {STORE} {' '.join(arguments)}", flush=True)
    command = [sys.executable, "-m", "kept", "--store", str(STORE), *arguments]
    subprocess.run(command, check=True)


def score_best() -> None:
    """Load the best version and score it: the accuracy must equal the logged one."""
    _, x_test, _, y_test = load_data()
    best = kept.open_store(STORE)[f"{NAME}:best"]
    _, accuracy = best.load_model().evaluate(x_test, y_test, verbose=0)
    logged = best.metadata["metrics"]["val_accuracy"]
    print(f"\n{best.reference} (best), loaded back: accuracy {accuracy:.4f}, logged {logged:.4f}")
    if abs(accuracy - logged) > 1e-6:
        sys.exit(f"The loaded model scores {accuracy}, expected {logged}.")


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    train()
    show("ls", NAME)
    show("show", f"{NAME}:best")
    show("verify")
    score_best()
    command = os.path.relpath(Path(sys.executable).with_name("kept"))
    print(f"\nThe store is in {STORE}. Try: {command} --store {STORE} get {NAME}:best restored")


if __name__ == "__main__":
    main()
