"""The page of a version: what is it, can I trust it, how do I get it?"""

import http.client
import json
import re
import shutil
import subprocess
import sys
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from playwright.sync_api import expect

import kept
from kept.store.blobs.blob import blob_key
from kept.store.content.manifest import manifest_key
from kept.web.facts.version import layers
from kept.web.links import Links
from kept.web.page import Frame, render
from kept.web.pages import tensor
from kept.web.pages.artifact import artifact_charts, artifact_page, artifact_sheet
from kept.web.pages.version import PARTS, version_page
from kept.web.query import Query
from kept.web.reading.reader import Reader
from tests.helpers import hdf5, keras
from tests.web.conftest import NARROW, violations
from tests.web.models import fitted_store

HOSTILE = "<script>alert(1)</script>\u202eevil"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    return fitted_store(tmp_path_factory.mktemp("fitted"))


@pytest.fixture
def own(fitted, tmp_path):
    """A copy that a test may change."""
    shutil.copytree(fitted.location, tmp_path / "copy")
    return kept.open_store(tmp_path / "copy")


def html_of(store, name, index, text="", *, in_files=False, read_only=False):
    found = version_page(Reader(store), Query.parse(text), name, index)
    frame = Frame(store.location, read_only=read_only)
    return render(found, frame, Links(3, in_files=in_files), Query.parse(text))


def get(address, path):
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def open_version(page, server, name, index, query=""):
    page.goto(f"{server.address}artifacts/{name}/v{index}/{query}")
    return page


def test_the_first_screen_answers_the_question(fitted, serve, page):
    open_version(page, serve(fitted.location), "digits", 1)
    expect(page.get_by_role("heading", level=1)).to_have_text("digits v1")
    head = page.locator("[data-part=head]")
    expect(head.locator(".alias.protected")).to_have_text("prod")
    summary = page.get_by_label("Summary")
    for text in ("healthy", "not verified here", "not signed", "data:v0"):
        expect(summary).to_contain_text(text)
    metrics = page.get_by_label("Key metrics")
    for text in ("loss", "(monitored)", "test_acc@night", "0.91", "Looks good"):
        expect(metrics).to_contain_text(text)
    lines = page.get_by_label("How to get it").locator("code").all_inner_texts()
    assert [line.split("(")[0] for line in lines[::2]] == [
        "model = kept.open_store",
        "kept.ModelCheckpoint",
    ]
    place = page.get_by_label("How to get it").bounding_box()
    assert place["y"] + place["height"] < 800, "seen without scrolling"
    assert violations(page) == []


def test_the_lines_to_copy_work(fitted, serve, page, tmp_path):
    open_version(page, serve(fitted.location), "digits", 2)
    python, command, resume = page.get_by_label("How to get it").locator("code").all_inner_texts()
    names = {"kept": kept}
    exec(python, names)
    assert names["model"].get_layer("encoder").units == 16
    words = [sys.executable, "-m", *command.split()]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "digits-v2" / "model.keras").stat().st_size
    callback = eval(resume, names)
    assert isinstance(callback, kept.ModelCheckpoint)


def test_layers_appear_when_they_come_into_view(fitted, serve, page):
    open_version(page, serve(fitted.location), "digits", 2)
    page.get_by_role("link", name="Layers", exact=True).click()
    table = page.get_by_role("region", name="Table of layers")
    encoder = table.locator("tbody", has_text="encoder").first
    expect(encoder).to_contain_text("8 × 16")
    expect(encoder).to_contain_text("float32")
    expect(page.locator("#layers")).to_contain_text("178 parameters")
    page.get_by_role("link", name="kernel").first.click()
    opened = page.locator("tr.opened")
    expect(opened.get_by_role("img")).to_have_attribute(
        "aria-label", re.compile("128 finite values")
    )
    expect(opened).to_contain_text("standard deviation")
    assert violations(page) == []
    page.get_by_role("link", name="kernel").first.click()
    expect(opened).to_have_count(0)


def test_without_scripts_links_show_the_same_parts(fitted, serve, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    open_version(page, serve(fitted.location), "digits", 1)
    page.get_by_role("link", name="Show the layers").click()
    expect(page.get_by_role("region", name="Table of layers")).to_contain_text("encoder")
    page.get_by_role("link", name="kernel").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("encoder/kernel")
    page.go_back()
    page.get_by_role("link", name="Show the lineage").click()
    expect(page.locator("#lineage")).to_contain_text("resumed by fine:v0")
    context.close()


def test_lineage_and_history_reach_across_artifacts(fitted, serve, page):
    open_version(page, serve(fitted.location), "digits", 1)
    page.get_by_role("link", name="History", exact=True).click()
    expect(page.locator("#history")).to_contain_text("prod promoted to v1: beats the baseline")
    expect(page.locator("#history")).to_contain_text("v1 committed")
    expect(page.locator("#history")).not_to_contain_text("v0 deleted")
    lineage = page.locator("#lineage")
    expect(lineage).to_contain_text("uses data:v0")
    lineage.get_by_role("link", name="fine:v0").click()
    page.wait_for_url("**/artifacts/fine/v0/")
    expect(page.get_by_label("Summary")).to_contain_text(re.compile(r"resumed from\s*digits:v1"))
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("digits v1")


def test_a_page_that_is_open_shows_what_others_do(own, serve, page):
    open_version(page, serve(own.location), "digits", 2)
    page.get_by_role("link", name="Layers", exact=True).click()
    layers = page.get_by_role("region", name="Table of layers")
    expect(layers).to_contain_text("encoder")
    own["digits:v2"].log_metrics({"test_acc": 0.875}, dataset="night")
    expect(page.get_by_label("Key metrics")).to_contain_text("0.875", timeout=20_000)
    expect(layers).to_contain_text("encoder")
    own.delete("digits:v2", force=True)
    expect(page.locator(".note.bad")).to_contain_text("Deleted", timeout=20_000)
    expect(page.get_by_label("How to get it")).to_have_count(0)
    expect(layers).to_contain_text("encoder")


def test_a_signature_is_named_and_not_called_valid(own, tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (tmp_path / "private.pem").write_bytes(pem)
    signature = own["digits:v2"].sign(tmp_path / "private.pem")
    found = html_of(own, "digits", 2)
    assert f'signed by key <code title="{signature.key_id}">' in found
    assert "the signature was not checked here" in found
    assert "not signed" not in found


def test_a_time_to_come_stays_one(own, serve, page):
    own.set_ttl("digits:v2", "3d")
    page.clock.install()
    open_version(page, serve(own.location), "digits", 2)
    page.clock.run_for(6000)
    expires = page.get_by_label("Summary").locator("dt:text-is('expires') + dd")
    expect(expires).to_have_text(re.compile("2 days from now"))


def test_a_deleted_version_says_so_and_can_be_undeleted(fitted, serve, page):
    open_version(page, serve(fitted.location), "digits", 0)
    note = page.locator(".note.bad")
    expect(note).to_contain_text("Deleted")
    expect(note).to_contain_text(" by ")
    expect(page.get_by_label("How to get it")).to_have_count(0)
    assert violations(page) == []
    note.get_by_role("link", name="Undelete v0").click()
    page.wait_for_url("**/actions/undelete*")


def test_a_deleted_version_whose_bytes_are_freed_cannot_be_undeleted(own, serve, page):
    own.gc(grace=0)
    open_version(page, serve(own.location), "digits", 0)
    expect(page.locator(".note.bad")).to_contain_text("cannot be brought back")
    expect(page.get_by_role("link", name="Undelete v0")).to_have_count(0)


def test_a_damaged_list_of_files_hides_nothing_else(own, serve, page):
    key = manifest_key(own["digits:v1"].record.manifest)
    place = own.bucket.path(key) if hasattr(own.bucket, "path") else f"{own.location}/{key}"
    with open(place, "r+b") as file:
        file.write(b"damage")
    open_version(page, serve(own.location), "digits", 1, "?with=layers")
    expect(page.locator(".note.bad")).to_contain_text("kept repair")
    expect(page.get_by_label("Key metrics")).to_contain_text("0.91")
    expect(page.locator("#history")).to_be_visible()


def test_nan_is_seen_before_a_click_and_in_the_values(tmp_path, serve, page):
    store = kept.open_store(tmp_path / "store")
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    values[0, 0], values[1, 1] = np.nan, np.inf
    findings = ["dense/kernel: 1 of 12 values is NaN", HOSTILE]
    store.log_artifact(
        "m", kept.MemoryFile("m.weights.h5", [hdf5({"dense": values})]), capture=False,
        metadata={"health": "unhealthy", "health_findings": findings},
    )  # fmt: skip
    open_version(page, serve(store.location), "m", 0)
    expect(page.get_by_label("Summary")).to_contain_text("✗ unhealthy")
    expect(page.get_by_label("Summary")).to_contain_text("1 of 12 values is NaN")
    page.get_by_role("link", name="Layers", exact=True).click()
    page.locator("a[data-tensor]").first.click()
    expect(page.locator("tr.opened .note.bad")).to_contain_text("1 value NaN, 1 value infinite")


def test_the_values_of_a_large_tensor_are_read_if_asked_for(tmp_path, monkeypatch):
    store = kept.open_store(tmp_path / "store")
    content = kept.MemoryFile("m.weights.h5", [hdf5({"dense": np.ones(1000, np.float32)})])
    store.log_artifact("m", content, capture=False)
    monkeypatch.setattr(tensor, "ASKED_FROM", 3999)
    wanted = Query([("file", "m.weights.h5"), ("tensor", "layers/dense/vars/0")])
    reader = Reader(store)
    asked = tensor.tensor_page(reader, wanted, "m", 0)
    text = render(asked, Frame(store.location), Links(4), wanted)
    assert "kept reads 4.0 kB" in text
    assert "read=1" in text
    shown = tensor.tensor_page(reader, wanted.but(read=1), "m", 0)
    assert "31.6228" in render(shown, Frame(store.location), Links(4), wanted), "the norm"


def test_equal_tensors_name_the_version_that_had_them_first(tmp_path, monkeypatch):
    store = kept.open_store(tmp_path / "store")
    rng = np.random.default_rng(0)
    frozen = rng.random(40_000, np.float32)
    for number in range(4):
        moving = rng.random(40_000, np.float32)
        data = keras({"frozen": frozen if number else frozen + 1, "moving": moving}, number)
        store.log_artifact("m", kept.MemoryFile("m.keras", [data]), capture=False)
    found = html_of(store, "m", 3, "with=layers")
    layer = r'<tr class="layer"><th scope="rowgroup"><bdi>(\w+)</bdi>.*?</tr>(.*?)</tbody>'
    rows = dict(re.findall(layer, found, re.DOTALL))
    assert ">v1</a>" in rows["frozen"]
    assert ">new" in rows["moving"]
    assert "are the same bytes as in v2" in found
    monkeypatch.setattr(layers, "_OLDEST", 1)
    assert re.search(r">v2</a>\s*or earlier", html_of(store, "m", 3, "with=layers"))


def test_a_file_is_downloaded_whole_and_never_shown(fitted, own, serve):
    server = serve(fitted.location, "--read-only")
    response, body = get(server.address, "/artifacts/digits/v1/file/?file=model.keras")
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["Content-Disposition"].startswith("attachment;")
    assert len(body) == int(response.headers["Content-Length"])
    manifest = fitted["digits:v1"].manifest
    assert len(body) == next(f.size for f in manifest.files if f.path == "model.keras")
    missing, text = get(server.address, f"/artifacts/digits/v1/file/?file={quote(HOSTILE)}")
    assert missing.status == 404
    assert b"<script>" not in text


def test_metadata_are_searched_on_the_server(tmp_path, serve, page):
    store = kept.open_store(tmp_path / "store")
    metadata = {"config": {"optimizer": {"name": "adam", "rate": 0.001}}, "a_long": "x" * 1_000_000}
    metadata |= {f"key_{number}": number for number in range(500)}
    store.log_artifact("m", kept.MemoryFile("a.bin", [b"1"]), metadata=metadata, capture=False)
    open_version(page, serve(store.location), "m", 0)
    table = page.get_by_role("region", name="Table of metadata")
    assert table.locator("tbody tr").count() <= 100
    expect(table).to_contain_text("(1,000,000 characters)")
    page.get_by_label("Find").fill("ADAM")
    page.keyboard.press("Enter")
    page.wait_for_url("**find=ADAM*")
    expect(table.locator("tbody tr")).to_have_count(1)
    expect(table).to_contain_text("config.optimizer.name")
    expect(page.get_by_label("Find")).to_have_value("ADAM")
    page.go_back()
    expect(table).to_contain_text("key_1")


def test_hostile_texts_are_shown_as_text(tmp_path, serve, page):
    store = kept.open_store(tmp_path / "store")
    content = kept.MemoryFile("a&amp;'.bin", [b"1"])
    metadata = {HOSTILE: {HOSTILE: HOSTILE}, "metrics": {HOSTILE: 1.0, "loss": "nan"},
                "monitor": HOSTILE, "stall_seconds": HOSTILE}  # fmt: skip
    version = store.log_artifact("m", content, metadata=metadata,
                                 uses=[kept.Source("s3://b/<b>x</b>")])  # fmt: skip
    version.update(note=HOSTILE, description=HOSTILE, tags=["t"])
    server = serve(store.location)
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    open_version(page, server, "m", 0, "?with=layers&with=lineage&with=history&find=%3Cscript%3E")
    assert page.locator("main script").count() == 0
    assert page.locator("main").inner_text().count("<script>alert(1)</script>") >= 4
    assert violations(page) == []


def test_a_narrow_window_scrolls_tables_and_not_the_page(fitted, serve, page):
    page.set_viewport_size(NARROW)
    server = serve(fitted.location)
    every = "?with=layers&with=lineage&with=history"
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        open_version(page, server, "digits", 1, every)
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
        assert violations(page) == []


def test_read_only_and_exported_pages_have_no_actions(fitted):
    every = "&".join(f"with={part}" for part in PARTS)
    for options in ({"read_only": True}, {"in_files": True}):
        found = html_of(fitted, "digits", 1, every, **options)
        assert "actions/" not in found
        assert "encoder" in found
    exported = html_of(fitted, "digits", 1, every, in_files=True)
    main = exported[exported.index("<main") : exported.index("</main>")]
    assert "<form" not in main
    links = re.findall(r'href="([^"#]+)"', main)
    assert [link for link in links if not link.endswith("index.html")] == []


@pytest.mark.parametrize("path", ["digits/v99/", "nothing/v0/", "digits/v1/tensor/?tensor=x"])
def test_what_does_not_exist_has_a_page(fitted, serve, page, path):
    page.goto(f"{serve(fitted.location).address}artifacts/{path}")
    expect(page.get_by_role("heading", name="Not found")).to_be_visible()
    assert violations(page) == []


def test_a_damaged_file_is_an_error_and_no_broken_download(tmp_path, serve):
    store = kept.open_store(tmp_path / "store")
    made = store.log_artifact("m", kept.MemoryFile("model.bin", [bytes(range(256)) * 80]))
    [chunk] = made.manifest.file_chunks()
    place = tmp_path / "store" / blob_key(chunk.blob)
    place.chmod(0o644)
    place.write_bytes(b"cut")
    response, body = get(serve(store.location).address, "/artifacts/m/v0/file/?file=model.bin")
    assert response.status == 500
    assert b"is damaged" in body


def test_imported_versions_show_when_they_were_saved(tmp_path):
    store = kept.open_store(tmp_path / "store")
    for number, saved in enumerate(("2020-09-13T12:26:40Z", "long ago")):
        content = kept.MemoryFile("model.bin", [b"%d" % number])
        store.log_artifact("m", content, metadata={"saved_at": saved, "metrics": {"loss": number}})
    assert 'datetime="2020-09-13T12:26:40' in html_of(store, "m", 0)
    assert "before the import" not in html_of(store, "m", 1)
    reader, query = Reader(store), Query.parse("by=time")
    table = render(artifact_page(reader, query, "m"), Frame(store.location), Links(2), query)
    assert re.search(r"saved at</th>.*2020-09-13T12:26:40", table, re.DOTALL)
    points = json.dumps(artifact_charts(reader, query, "m"))
    assert "2020-09-13" in points
    assert b"2020-09-13T12:26:40Z" in artifact_sheet(reader, query, "m").content
