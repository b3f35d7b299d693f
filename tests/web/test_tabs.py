"""Two tabs, the back button, and a store that changes or vanishes under the page."""

import contextlib
import os
import shutil
import socket
import threading
from urllib.parse import urlsplit

import kept
from tests.web.conftest import make_series
from tests.web.test_frame import answer


def test_the_second_tab_does_not_do_what_the_first_one_did(store, serve, page):
    server = serve(store.location)
    other = page.context.new_page()
    for tab in (page, other):
        tab.goto(server.address + "actions/prune?name=digits&last=2")
    page.locator("button[name=plan]").click()
    page.locator("#done").wait_for()
    left = [version.index for version in store.versions("digits")]
    other.locator("button[name=plan]").click()
    assert "Nothing to delete" in other.get_by_role("alert").inner_text()
    assert [version.index for version in store.versions("digits")] == left


def test_two_tabs_move_an_alias_only_from_where_they_saw_it(store, serve, page):
    server = serve(store.location)
    other = page.context.new_page()
    page.goto(server.address + "actions/alias?ref=digits:v1&alias=prod")
    other.goto(server.address + "actions/alias?ref=digits:v2&alias=prod")
    page.locator("button[name=plan]").click()
    page.locator("#done").wait_for()
    other.locator("button[name=plan]").click()
    assert "Nothing was done yet" in other.get_by_role("alert").inner_text()
    assert store.version("digits:prod").index == 1
    other.get_by_role("button", name="Move prod from v1 to v2").click()
    other.locator("#done").wait_for()
    assert store.version("digits:prod").index == 2


def test_the_back_button_after_an_action_shows_the_store_as_it_is(store, serve, page):
    server = serve(store.location)
    page.goto(server.address)
    page.goto(server.address + "actions/delete?ref=digits:v3")
    page.locator("button[name=plan]").click()
    page.locator("#done").wait_for()
    page.go_back()
    if page.locator("button[name=plan]").count():  # the browser has kept the form
        page.locator("button[name=plan]").click()
    page.get_by_text("digits").first.wait_for()
    assert [v.index for v in store.deleted("digits")] == [3]
    page.goto(server.address)
    assert page.locator("#done").count() == 0


def test_a_reload_after_an_action_repeats_nothing(store, serve, page):
    server = serve(store.location)
    page.goto(server.address + "actions/note?ref=digits:v3")
    page.get_by_label("Note").fill("one")
    page.locator("button[name=plan]").click()
    page.locator("#done").wait_for()
    page.reload()
    page.reload()
    assert len(store.version("digits:v3").notes) == 1


def test_a_deleted_store_under_the_page_is_an_error_in_words(store, serve, page):
    server = serve(store.location)
    page.goto(server.address)
    page.goto(server.address + "actions/delete?ref=digits:v3")
    shutil.rmtree(store.location)
    page.locator("button[name=plan]").click()
    page.locator("[role=alert], .message, .note").first.wait_for()
    for path in ("/", "/artifacts/digits/", "/artifacts/digits/v3/", "/log/", "/actions/gc",
                 "/actions/delete?ref=digits:v1", "/compare/?v=digits:v1&v=digits:v2"):  # fmt: skip
        _, text = answer(server.address, path=path)
        assert "Traceback" not in text, path
        assert "Internal Server Error" not in text, path


def test_a_replaced_store_gets_nothing_that_was_meant_for_the_old_one(store, serve, page):
    server = serve(store.location)
    page.goto(server.address + "actions/delete?ref=digits:v3")
    shutil.rmtree(store.location)
    new = kept.open_store(store.location)
    make_series(new, "other", 1)
    make_series(new, "digits", 5)
    page.locator("button[name=plan]").click()
    page.wait_for_load_state()
    fresh = kept.open_store(store.location)
    assert len(fresh.versions("digits")) == 5
    for path in ("/", "/artifacts/digits/", "/log/"):
        _, text = answer(server.address, path=path)
        assert "Internal Server Error" not in text, path


def test_a_server_that_ended_leaves_the_typed_text(store, serve, page):
    """The form is still in the tab: the browser goes back to it."""
    server = serve(store.location)
    page.goto(server.address + "actions/note?ref=digits:v3")
    page.get_by_label("Note").fill("typed")
    server.stop()
    assert page.get_by_label("Note").input_value() == "typed"
    assert len(store.version("digits:v3").notes) == 0


def test_an_unreachable_bucket_is_an_error_in_words(s3, serve, monkeypatch, page):
    """The server of the bucket moves to a port where nothing answers."""
    store = kept.open_store(s3)
    make_series(store, "digits", 2)
    door = Door(os.environ["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", door.address)
    server = serve(s3)
    page.goto(server.address + "actions/note?ref=digits:v1")
    page.get_by_label("Note").fill("typed")
    door.close()
    page.locator("button[name=plan]").click()
    page.get_by_role("alert").wait_for(timeout=60_000)
    assert page.get_by_label("Note").input_value() == "typed"
    assert len(store.version("digits:v1").notes) == 0


class Door:
    """A port that leads to another one, until it is closed."""

    def __init__(self, target):
        place = urlsplit(target)
        self._target = (place.hostname, place.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open = []
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                inside, _ = self._listener.accept()
                outside = socket.create_connection(self._target)
                self._open += [inside, outside]
                for pair in ((inside, outside), (outside, inside)):
                    threading.Thread(target=_pump, args=pair, daemon=True).start()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def _pump(source, target):
    with contextlib.suppress(OSError):
        while part := source.recv(65536):
            target.sendall(part)
        target.shutdown(socket.SHUT_WR)
