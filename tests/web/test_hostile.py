"""What a store says is shown as text on every page: scripts, directions of writing, long texts."""

import re

import pytest

import kept
from kept.web.export.export import export

SCRIPT = "<script>window.hacked = 1</script>"
BROKEN_OUT = '"\'><img src=x onerror="window.hacked = 2"></title></script><svg onload=hacked=3>'
TEMPLATE = "{{ 7 * 7 }}{% raw %}${7*7}"
TURNED = "\u202egnp.evil\u2066\u2069\u202c"
LONG = "x" * 1_000_000
END = "</script><script>window.hacked = 4</script>"
TEXTS = (SCRIPT, BROKEN_OUT, TEMPLATE, TURNED, END)

PAGES = [
    "", "?q=" + "%3Cscript%3Ewindow.hacked=5%3C/script%3E", "?show=removed",
    "artifacts/m/", "artifacts/m/?where=%22%3E%3Cscript%3E&m=%3Cscript%3E&sort=%3Cb%3E",
    "artifacts/m/?last=1", "artifacts/m/v1/",
    "artifacts/m/v1/?with=layers&with=lineage&with=history&find=%3Cscript%3E",
    "compare/?v=m:v0&v=m:v1&with=changes&with=config", "compare/?v=%3Cscript%3E&v=m:v1",
    "log/", "log/?name=m&by=%3Cscript%3E",
    "actions/note?ref=m:v1&text=%3Cscript%3E", "actions/tag?ref=m:v1&tags=%3Cscript%3E",
    "actions/describe?ref=m:v1", "actions/delete?ref=m:v1&back=%3Cscript%3E",
    "actions/metric?ref=m:v1&metric=%3Cscript%3E&value=1", "actions/delete?ref=%3Cscript%3E",
    "actions/alias?ref=m:v1&alias=%3Cscript%3E", "actions/best?name=m&monitor=%3Cscript%3E",
    "actions/promote?ref=m:v1&alias=a&condition=%3Cscript%3E", "actions/%3Cscript%3E",
    "artifacts/%3Cscript%3E/", "artifacts/m/v%3Cscript%3E/", "jobs/1/", "%3Cscript%3E",
]  # fmt: skip


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A store in which every text that a person can choose is hostile."""
    store = kept.open_store(tmp_path_factory.mktemp("hostile") / "store <script>alert(1)</script>")
    for number in range(2):
        metadata = {f"key {text}": text for text in TEXTS} | {
            "long": LONG, "nested": {text: [text, {text: text}] for text in TEXTS},
            "epoch": number, "monitor": SCRIPT, "mode": "min", "value": 0.5 - number / 10,
            "metrics": {SCRIPT: 0.5, BROKEN_OUT: 1.5, TURNED: 2.5, "m" * 200: number},
            "health": "unhealthy", "health_findings": [SCRIPT, BROKEN_OUT],
        }  # fmt: skip
        files = [
            kept.MemoryFile("' onerror='window.hacked=6' &lt;script&gt;.txt", [b"%d" % number]),
            kept.MemoryFile("{{ 7+7 }}" + "long" * 40, [b"x"]),
        ]
        uses = [kept.Source("javascript:window.hacked=8"), kept.Source(f"https://x/{SCRIPT}")]
        store.log_artifact("m", files, type="model", metadata=metadata, capture=False,
                           uses=uses)  # fmt: skip
    version = store.version("m:v1")
    labels = [text for text in TEXTS if text.isprintable() and len(text) <= 100]
    version.update(description=SCRIPT + LONG, tags=labels, note=BROKEN_OUT)
    version.update(note=LONG)
    version.log_metrics({labels[0]: 0.5}, dataset=labels[0], evaluation=labels[0])
    store.promote("m:v0", "prod", message=SCRIPT + BROKEN_OUT)
    return store


@pytest.fixture(scope="module")
def site(hostile):
    from tests.web.conftest import Server

    server = Server(hostile.location, env={"KEPT_USER": SCRIPT})
    yield server
    server.stop()


OUTSIDE = """() => {
    const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const text = walk.currentNode;
        const safe = text.parentElement.closest("bdi, code, pre, option, textarea, script");
        if (/[\\u202a-\\u202e\\u2066-\\u2069]/.test(text.data) && !safe) {
            found.push(text.parentElement.outerHTML);
        }
    }
    return found;
}"""


def check(page):
    assert page.evaluate(OUTSIDE) == [], "a text that turns the direction turns no other text"
    assert page.evaluate("window.hacked") is None
    links = page.evaluate("[...document.links].map((each) => each.protocol)")
    assert set(links) <= {"http:", "https:", "file:"}
    assert page.locator("main img[src=x], main svg[onload], main script:not([type])").count() == 0
    assert page.evaluate("document.documentElement.outerHTML.length") < 1_000_000
    assert "49" not in page.locator("h1").all_inner_texts()


@pytest.mark.parametrize("path", PAGES)
def test_a_hostile_text_stays_a_text(site, page, path):
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    page.goto(site.address + path)
    page.wait_for_timeout(100)
    check(page)


def test_the_texts_are_there(site, page):
    page.goto(site.address + "artifacts/m/v1/?with=history")
    text = page.locator("main").inner_text()
    assert SCRIPT in text
    assert re.search(r"\(1,0\d\d,\d\d\d characters\)", text), "long texts are cut, and say so"


def test_what_was_typed_comes_back_as_text(site, page):
    page.goto(site.address + "actions/tag?ref=m:v0")
    page.get_by_label("Add").fill("a\u202eb" + BROKEN_OUT)
    page.get_by_role("button", name="Change the tags").click()
    page.get_by_role("alert").wait_for()
    assert page.get_by_label("Add").input_value() == "a\u202eb" + BROKEN_OUT
    check(page)


def test_a_hostile_export_is_text_too(hostile, page, tmp_path):
    export(hostile, str(tmp_path / "out"))
    for file in sorted((tmp_path / "out").rglob("index*.html")):
        page.goto(f"file://{file}")
        check(page)
