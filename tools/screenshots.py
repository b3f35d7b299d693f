"""Take the pictures of the page in docs/pictures/: trains on real images, and opens Chromium.

`make screenshots` runs it. The seeds are fixed, so the numbers stay nearly the same. Look at the
pictures before you commit them.
"""

from __future__ import annotations

import io
import os
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import uvicorn
from examples.digits import build_model, load_data
from PIL import Image
from tests.servers.chromium import chromium

import kept
from kept.web.app import make_app

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
_FOLDER = Path("/tmp/kept-demo")
_MOST_BYTES = 150_000
_COLORS = 128


class Shot(NamedTuple):
    """A picture: the file, the address, and how the window is."""

    file: str
    address: str
    width: int
    height: int
    scheme: str = "light"
    waits: str = "main"  # for this element


SHOTS = [
    Shot("artifact.png", "artifacts/digits-cnn/?last=3&best=4", 1280, 860, waits=".chart svg"),
    Shot("compare.png", "compare/?v=digits-cnn:v1&v=digits-cnn:v9&v=digits-cnn:best", 1280, 860,
         waits="#changes table"),
    Shot("version-dark.png", "artifacts/digits-cnn/v9/", 420, 860, "dark"),
]  # fmt: skip


def main() -> None:
    """Train, and take the pictures."""
    _PICTURES.mkdir(exist_ok=True)
    _FOLDER.mkdir()  # the pages show its name
    try:
        store = kept.open_store(_train(_FOLDER))
        server = uvicorn.Server(uvicorn.Config(make_app(store), port=0, log_level="warning"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        try:
            while not server.started:
                thread.join(0.05)
            port = server.servers[0].sockets[0].getsockname()[1]
            _take_all(f"http://127.0.0.1:{port}/")
        finally:
            server.should_exit = True
            thread.join(10)
    finally:
        shutil.rmtree(_FOLDER)


def _train(folder: Path) -> Path:
    """Train two networks into a store; return its folder."""
    os.chdir(folder)
    place = Path("runs")
    x_train, x_test, y_train, y_test = load_data()
    for name, epochs, rate in (("digits-cnn", 18, 3e-3), ("digits-slow", 6, 1e-4)):
        keras.utils.set_random_seed(0)
        model = build_model()
        model.optimizer.learning_rate = rate
        checkpoint = kept.ModelCheckpoint(
            f"{name}-{{epoch:02d}}.keras", monitor="val_loss", store=place, name=name,
            capture=False,  # a page would show the user and the machine
        )  # fmt: skip
        model.fit(x_train, y_train, validation_data=(x_test, y_test), batch_size=64,
                  epochs=epochs, callbacks=[checkpoint], verbose=0)  # fmt: skip
    store = kept.open_store(place)
    store.protect("prod")
    store.promote("digits-cnn:v6", "prod", message="first in production")
    store.promote("digits-cnn:best", "prod", condition="val_accuracy >= 0.9")
    store.version("digits-cnn:best").update(tags=["release"], note="0.98 on the test images")
    return place


def _take_all(address: str) -> None:
    with chromium() as browser:
        for shot in SHOTS:
            _take(browser, address, shot)


def _take(browser: Browser, address: str, shot: Shot) -> None:
    scheme: Any = shot.scheme
    size: Any = {"width": shot.width, "height": shot.height}
    page: Page = browser.new_page(viewport=size, color_scheme=scheme, reduced_motion="reduce")
    page.goto(address + shot.address, wait_until="load")
    page.locator(shot.waits).first.wait_for()
    page.wait_for_timeout(1000)  # the charts have their final sizes
    content = page.screenshot(animations="disabled")
    page.close()
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    file = _PICTURES / shot.file
    picture.quantize(_COLORS, dither=Image.Dither.NONE).save(file, optimize=True)
    size_now = file.stat().st_size
    print(f"{file.relative_to(_PICTURES.parents[1])}: {picture.width} x {picture.height}, "
          f"{size_now / 1000:.0f} kB")  # fmt: skip
    if size_now > _MOST_BYTES:
        raise SystemExit(f"{file} has more than {_MOST_BYTES / 1000:.0f} kB. Make it smaller.")


if __name__ == "__main__":
    main()
