"""Open pages follow the store: events from one notifier, parts that change in place."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

import kept
from kept.web.live.notifier import Notifier
from kept.web.reading.reader import Reader
from tests.web.conftest import make_series, violations

TRAINING = """
import sys, time
import keras, numpy
import kept

class Slow(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        time.sleep(0.1)

model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(2)])
model.compile("sgd", "mse")
x, y = numpy.zeros((16, 4)), numpy.zeros((16, 2))
callback = kept.ModelCheckpoint(sys.argv[2], store=sys.argv[1], name="trained")
model.fit(x, y, batch_size=4, epochs=500, verbose=0, callbacks=[callback, Slow()])
"""
# An event source that the test speaks for, and short waits.
SPOKEN = """const later = window.setTimeout;
window.setTimeout = (work, milliseconds) => later(work, Math.min(milliseconds, 1));
window.EventSource = class extends EventTarget {
  constructor() { super(); window.spoken = this; }
  close() {}
  say(type, data) { this.dispatchEvent(new MessageEvent(type, { data })); }
}"""
HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { get: () => hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def train(root, folder):
    command = [sys.executable, "-c", TRAINING, str(root), str(folder / "m.keras")]
    return subprocess.Popen(command, env=os.environ | {"KERAS_BACKEND": "jax"})


def until(page, holds, seconds=60):
    """Wait until a condition holds; the browser continues meanwhile."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it has not happened"
        page.wait_for_timeout(50)


def mark(page):
    page.evaluate("window.isTheSamePage = true")


def is_marked(page):
    return page.evaluate("window.isTheSamePage === true")


def add_version(store, name="digits", number=100):
    content = kept.MemoryFile("model.bin", [b"%08d" % number])
    metadata = {"monitor": "val_loss", "mode": "min", "metrics": {"val_loss": 1 / (number + 2)}}
    return store.log_artifact(name, content, metadata=metadata, capture=False)


@pytest.fixture
def trainings():
    started = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_a_training_appears_grows_and_ends_without_a_reload(tmp_path, serve, page, trainings):
    root = tmp_path / "store"
    page.goto(serve(root).address)
    mark(page)
    assert page.get_by_role("heading", name="This store is empty").is_visible()
    trainings.append(train(root, tmp_path))
    page.get_by_text("training: trained, epoch").wait_for(timeout=90_000)
    versions = page.locator("table.artifacts td.number").first
    versions.wait_for()
    for count in (2, 4, 6):  # the row grows
        until(page, lambda count=count: int(versions.text_content()) >= count)
    assert page.locator("table.artifacts tbody tr").count() == 1
    assert page.locator("table.artifacts").get_by_text("training", exact=True).is_visible()
    assert violations(page) == []
    trainings[0].send_signal(signal.SIGKILL)
    page.get_by_text("training: trained").wait_for(state="detached")
    page.get_by_text("training", exact=True).wait_for(state="detached")
    assert is_marked(page), "nothing was loaded again"


def test_what_the_reader_does_on_the_page_stays(store, serve, page):
    page.goto(serve(store.location).address)
    mark(page)
    link = page.get_by_role("link", name="other", exact=True)
    link.focus()
    page.evaluate("getSelection().selectAllChildren(document.activeElement)")
    add_version(store, "new-one")
    page.get_by_role("link", name="new-one").wait_for()
    add_version(store, "other")
    page.get_by_role("link", name="v2", exact=True).wait_for()
    assert page.evaluate("document.activeElement.textContent") == "other"
    assert page.evaluate("getSelection().toString()") == "other"
    assert is_marked(page)


def test_a_page_about_another_artifact_is_not_asked_for_again(store, serve, page):
    page.goto(serve(store.location).address.rstrip("/") + "/artifacts/digits/")
    page.wait_for_timeout(1500)  # the first look of the notifier, and the catching up
    asked = []
    page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    add_version(store, "other")
    page.wait_for_timeout(2500)
    assert not [path for path in asked if path == "/artifacts/digits/"]
    add_version(store, "digits")
    until(page, lambda: "/artifacts/digits/" in asked)


def test_a_hidden_page_has_no_connection_and_catches_up(store, serve, page):
    page.goto(serve(store.location).address)
    page.wait_for_timeout(1500)
    page.evaluate(HIDE, True)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    add_version(store, "while-hidden")
    page.wait_for_timeout(2500)
    assert asked == []
    page.evaluate(HIDE, False)
    page.get_by_role("link", name="while-hidden").wait_for()


def test_a_page_says_that_the_server_is_gone_and_connects_again(store, serve, page, capfd):
    server = serve(store.location)
    page.goto(server.address)
    page.wait_for_timeout(500)
    assert server.stop() in (0, 130), "Ctrl-C ends it although a page is open"
    assert "ERROR" not in capfd.readouterr().err
    page.get_by_text("Not connected to the server").wait_for()
    assert violations(page) == []
    add_version(store, "meanwhile")
    serve(store.location, "--port", str(urlsplit(server.address).port))
    page.get_by_role("link", name="meanwhile").wait_for(timeout=60_000)
    page.get_by_text("Not connected to the server").wait_for(state="hidden")


def test_a_page_that_is_open_for_long_does_not_grow(store, serve, page):
    """100 updates without waits between them; the page and the store are real."""
    page.add_init_script(SPOKEN)
    page.goto(serve(store.location).address)
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable")
    sizes = []
    for number in range(100):
        add_version(store, "digits", number)
        with page.expect_response("**/"):
            page.evaluate("""spoken.say("change", '{"artifacts": ["digits"]}')""")
        if number in (24, 99):
            page.get_by_role("link", name=f"v{number + 12}", exact=True).wait_for()
            devtools.send("HeapProfiler.collectGarbage")
            found = devtools.send("Performance.getMetrics")["metrics"]
            sizes.append({each["name"]: each["value"] for each in found})
    early, late = sizes
    assert late["Nodes"] <= early["Nodes"] * 1.05
    assert late["JSEventListeners"] <= early["JSEventListeners"]
    assert late["Documents"] <= early["Documents"]
    assert late["JSHeapUsedSize"] <= early["JSHeapUsedSize"] * 1.1


def listen(store, body):
    """Run a coroutine with a new notifier whose looks follow each other quickly."""

    async def run():
        notifier = Notifier(Reader(store), seconds=0.01)
        await asyncio.wait_for(body(notifier), 60)

    thread = ThreadPoolExecutor(1)  # the event loop of Playwright runs in this one
    thread.submit(asyncio.run, run()).result()


def test_one_watcher_works_while_pages_are_open(store):
    async def body(notifier):
        first, second = notifier.events(), notifier.events()
        assert (await anext(first))["event"] == "hello"
        task = notifier.task
        assert (await anext(second))["event"] == "hello"
        assert notifier.task is task
        await asyncio.sleep(0.5)  # its first look
        add_version(store)
        for page in (first, second):
            assert await anext(page) == {"event": "change", "data": '{"artifacts": ["digits"]}'}
        await first.aclose()
        assert notifier.task is task
        await second.aclose()
        assert notifier.task is None
        assert notifier.pages == 0

    listen(store, body)


def test_a_page_that_does_not_listen_gets_few_words_later(store):
    async def body(notifier):
        slow = notifier.events()
        await anext(slow)
        for number in range(1000):
            notifier.notify({f"m{number}"}, has_runs=True)
        assert await anext(slow) == {"event": "runs", "data": "{}"}
        assert await anext(slow) == {"event": "change", "data": '{"artifacts": ["*"]}'}
        await slow.aclose()

    listen(store, body)


def test_the_watcher_outlives_a_store_that_cannot_be_read(store, monkeypatch):
    async def body(notifier):
        page = notifier.events()
        await anext(page)
        await asyncio.sleep(0.5)
        with monkeypatch.context() as broken:
            broken.setattr(Reader, "table", lambda _: (_ for _ in ()).throw(OSError("no disk")))
            assert '["*"]' in (await anext(page))["data"]
        assert '["*"]' in (await anext(page))["data"], "it can be read again"
        add_version(store)
        assert '["digits"]' in (await anext(page))["data"]
        await page.aclose()

    listen(store, body)


def test_a_store_of_its_own_name_is_shown_in_the_line_of_trainings(store, serve, page):
    """The line works on pages at any depth, and on a page that is about no artifact."""
    from kept.sync.live import LiveFile

    file = LiveFile()
    file.begin(store.location, "digits", epochs=20, framework="jax")
    try:
        address = serve(store.location).address.rstrip("/")
        for path in ("/", "/artifacts/digits/", "/artifacts/digits/v3/", "/log/"):
            page.goto(address + path)
            line = page.get_by_text("training: digits, epoch 1 of 20")
            line.wait_for()
            page.locator("#running a").click()
            page.wait_for_url("**/artifacts/digits/")
        file.update(is_forced=True, epoch=7, metrics={"loss": 0.25})
        page.get_by_text("training: digits, epoch 7 of 20 · loss 0.25").wait_for()
    finally:
        file.end()
    page.get_by_text("training: digits").wait_for(state="detached")


def test_many_versions_arrive_at_once(store, serve, page):
    page.goto(serve(store.location).address)
    make_series(store, "third", 30)
    page.get_by_role("link", name="v29", exact=True).wait_for()
