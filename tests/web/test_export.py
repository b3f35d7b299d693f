"""Exported pages: complete, with no dead link, and the same from a disk as from a web server."""

import functools
import http.server
import json
import os
import subprocess
import sys
import threading
from urllib.parse import unquote, urljoin, urlsplit

import pytest

import kept
from kept.errors import ArtifactNotFound, InvalidInput
from kept.store.log import lookup
from kept.store.log.log import Logs
from kept.web.export import pages as export_pages
from kept.web.export.export import export
from kept.web.facts.artifact import table
from kept.web.links import Links
from tests.web.conftest import make_series, violations


@pytest.fixture
def rich(store):
    """A store with aliases, lineage, deletions, damage and what people say."""
    store.set_alias("digits:v4", "best")
    store.copy("digits:v3", "copied")
    store.log_artifact("child", kept.MemoryFile("m.bin", [b"x"]), uses=["digits:v3"],
                       capture=False)  # fmt: skip
    store.delete("digits:v7")
    store.remove_artifact("other")
    store.version("digits:v2").update(note="<b>fine</b>", tags=["a"], description="the third")
    return store


def crawl(tab, start):
    """Open all pages that links reach; return the addresses, and those that are missing."""
    seen, missing, waiting = set(), [], [start]
    tab.on("requestfailed", lambda request: request.failure != "net::ERR_ABORTED"
           and missing.append(request.url))  # fmt: skip
    while waiting:
        address = waiting.pop()
        answer = tab.goto(address)
        if answer is not None and not answer.ok:
            missing.append(address)
        links = tab.evaluate("""() => [...document.querySelectorAll("[href], [src]")].map(
            (each) => [each.getAttribute("href") ?? each.getAttribute("src"), each.tagName])""")
        for link, tag in links:
            target = urljoin(address, link).partition("#")[0]
            if target in seen or link.startswith("data:"):
                continue
            seen.add(target)
            if urlsplit(target).query:
                missing.append(f"{address}: {link}")
            elif tag == "A" and target.endswith(".html"):
                waiting.append(target)
            elif target.startswith("file:") and not os.path.isfile(unquote(urlsplit(target).path)):
                missing.append(f"{address}: {link}")
    return seen, missing


def test_every_link_of_the_files_exists(rich, tmp_path, page):
    found = export(rich, str(tmp_path / "out"))
    seen, missing = crawl(page, f"file://{tmp_path}/out/index.html")
    assert missing == []
    reached = {unquote(urlsplit(address).path) for address in seen}
    written = {str(path) for path in (tmp_path / "out").rglob("index*.html")}
    assert written - reached == set(), "each page is reached by links"
    assert found.pages == len(written)


def test_charts_are_drawn_from_a_disk(store, tmp_path, page):
    export(store, str(tmp_path / "out"))
    page.goto(f"file://{tmp_path}/out/artifacts/digits/index.html")
    page.locator(".chart svg").first.wait_for()
    assert page.locator("form, button[type=submit]").filter(visible=True).count() == 0


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_a_web_server_below_any_folder_serves_it(rich, tmp_path, page):
    export(rich, str(tmp_path / "some where" / "out"))
    handler = functools.partial(Quiet, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    start = f"http://127.0.0.1:{server.server_port}/some%20where/out/index.html"
    try:
        seen, missing = crawl(page, start)
        page.goto(start)
        assert violations(page) == []
    finally:
        server.shutdown()
        server.server_close()
    assert missing == []
    assert len(seen) > 20


def test_a_further_export_replaces_the_earlier_one(store, tmp_path):
    out = tmp_path / "out"
    export(store, str(out))
    (out / "left.html").write_text("old")
    store.remove_artifact("other")
    export(store, str(out))
    assert not (out / "left.html").exists()
    assert not (out / "artifacts" / "other").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".kept")] == []


def test_a_folder_that_is_no_export_stays(store, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(InvalidInput, match=r"kept-export\.json"):
        export(store, str(out))
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InvalidInput, match="is a file"):
        export(store, str(tmp_path / "file"))


@pytest.mark.parametrize("place", ["", "out", ".."])
def test_the_folder_of_the_store_is_refused(store, place):
    with pytest.raises(InvalidInput, match="store"):
        export(store, os.path.join(store.location, place))
    assert len(store.versions("digits")) == 12


def test_an_export_that_fails_leaves_the_earlier_one(store, tmp_path, monkeypatch):
    out = tmp_path / "out"
    export(store, str(out))
    before = (out / "index.html").read_bytes()
    monkeypatch.setattr(export_pages, "compare_page", _fails)
    with pytest.raises(OSError, match="no room"):
        export(store, str(out))
    assert (out / "index.html").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".kept")] == []


def _fails(*_):
    raise OSError("no room")


def test_only_some_artifacts_and_then_no_link_to_the_others(rich, tmp_path, page):
    export(rich, str(tmp_path / "out"), ["child"])
    folders = [path.name for path in (tmp_path / "out" / "artifacts").iterdir()]
    assert folders == ["child"]
    _, missing = crawl(page, f"file://{tmp_path}/out/index.html")
    assert missing == []
    with pytest.raises(ArtifactNotFound):
        export(rich, str(tmp_path / "other"), ["missing"])
    assert not (tmp_path / "other").exists()


def test_long_lists_are_numbered_files(tmp_path, page, monkeypatch):
    store = kept.open_store(tmp_path / "s")
    make_series(store, "long", 25)
    monkeypatch.setattr(export_pages, "MOST_VERSIONS", 10)
    monkeypatch.setattr(table, "ROWS", 20)
    store.set_alias("long:v3", "mine")
    found = export(store, str(tmp_path / "out"))
    assert found.left_out == 14
    versions = {path.name for path in (tmp_path / "out/artifacts/long").iterdir() if path.is_dir()}
    assert versions == {"v3", *(f"v{n}" for n in range(15, 25))}
    assert (tmp_path / "out/artifacts/long/index-2.html").exists()
    seen, missing = crawl(page, f"file://{tmp_path}/out/index.html")
    assert missing == []
    assert any(address.endswith("/index-2.html") for address in seen)


def test_names_cannot_leave_the_folder(store, tmp_path, monkeypatch):
    """A store of others can have any name on its disk."""
    monkeypatch.setattr(lookup, "has_live_version", lambda *_: True)
    for name in ("../../escaped", "..", "a/b", "/tmp/escaped"):
        monkeypatch.setattr(Logs, "names", lambda _, name=name: iter(["digits", name]))
        with pytest.raises(InvalidInput):
            export(store, str(tmp_path / "deep" / "out"))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "store"]
        assert list((tmp_path / "deep").iterdir()) == []


def test_a_link_to_what_is_not_exported_leads_to_the_page_above():
    links = Links(2, in_files=True, folders=frozenset({"", "artifacts/m/", "artifacts/m/v1/"}))
    assert links.version("m", 1) == "../../artifacts/m/v1/index.html"
    assert links.version("m", 2) == "../../artifacts/m/index.html"
    assert links.version("other", 2) == "../../index.html"
    assert links.log() == "../../index.html"
    assert not links.offers(["m:v1", "m:v2"])


def test_the_command_says_what_it_wrote(store, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "kept", "--store", store.location, "ui", "--json", "--export"]
    done = subprocess.run([*command, str(out)], capture_output=True, check=True)
    shape = json.loads(done.stdout)
    assert shape["file"] == str(out / "index.html")
    assert shape["pages"] == len(list(out.rglob("index*.html")))
    assert shape["left_out"] == 0
