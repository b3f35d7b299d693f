"""Charts in a real browser, with a Content-Security-Policy that allows no inline script or style.

The call of vegaEmbed here is the one that kept/charts/render.py documents.
"""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kept.charts import render
from kept.charts.heat_map import heat_map
from kept.charts.look import CSS, Look
from kept.charts.metrics import metric_chart
from kept.charts.rows import Cell, Point, Stored
from kept.charts.storage import storage_bars
from tests.charts.conftest import HOSTILE
from tests.servers.chromium import chromium

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'"
)
PAGE = """<!doctype html><html lang=en><title>t</title><link rel=stylesheet href=page.css>
<script src=vega.js></script><script src=page.js></script>"""
SCRIPT = """
window.broken = [];
addEventListener("securitypolicyviolation", e => broken.push(e.violatedDirective + e.sample));
addEventListener("DOMContentLoaded", async () => {
  for (const spec of await (await fetch("specs.json")).json()) {
    const element = document.body.appendChild(document.createElement("div"));
    await vegaEmbed(element, spec, {
      ast: true, actions: false, defaultStyle: false, renderer: "svg",
      tooltip: {disableDefaultStyle: true},
    });
  }
  document.body.dataset.done = "yes";
});
"""
STYLE = """:root { --chart-1: rgb(1, 2, 3) } .dark { --chart-1: rgb(200, 100, 50) }
.vg-tooltip { visibility: hidden; position: fixed } .vg-tooltip.visible { visibility: visible }"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture
def drawn(browser):
    """Draw specifications in a tab; return it."""
    files = {"/vega.js": render.bundle(), "/page.js": SCRIPT.encode(), "/page.css": STYLE.encode()}
    kinds = {".js": "text/javascript", ".css": "text/css", ".json": "application/json"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            kind = kinds.get(os.path.splitext(self.path)[1], "text/html")
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Security-Policy", POLICY)
            self.end_headers()
            self.wfile.write(files.get(self.path, PAGE.encode()))

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    tab = browser.new_page()
    problems = []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
    tab.on("console", lambda said: problems.append(said.text) if said.type != "log" else None)

    def draw(*specs):
        files["/specs.json"] = json.dumps(specs).encode()
        tab.goto(f"http://127.0.0.1:{server.server_port}/")
        tab.wait_for_selector("body[data-done]")  # a function would be polled by eval
        return tab

    yield draw
    assert tab.evaluate("broken") == []
    assert problems == []
    tab.close()
    server.shutdown()
    server.server_close()


def test_hostile_names_are_texts_in_every_chart(drawn):
    values = {name: 1.0 + n for n, name in enumerate(HOSTILE)}
    facts = {"image": "javascript:alert(1)", HOSTILE[1]: HOSTILE[1]}
    points = [
        Point(n, values, n, flags=(HOSTILE[1],), is_best=n == 1, artifact=HOSTILE[0], facts=facts)
        for n in range(3)
    ]
    look = Look(CSS, None, 300, is_interactive=True)
    tab = drawn(
        metric_chart(points, HOSTILE, look=look),
        heat_map([Cell(name, HOSTILE[1], 0.1) for name in HOSTILE], HOSTILE[1], look),
        storage_bars([Stored(HOSTILE[1], 1, 2, 3)], HOSTILE[1], look),
    )
    assert tab.locator("svg").count() == 3
    box = tab.locator("svg").first.bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.7)
    tab.wait_for_selector(".vg-tooltip.visible")
    assert HOSTILE[0] in tab.locator(".vg-tooltip").inner_text()
    assert tab.locator("img, script[src='x']").count() == 0
    assert tab.locator("script").count() == 2


def test_the_tooltip_of_the_nearest_point_has_all_metrics(drawn, curve):
    tab = drawn(metric_chart(curve(3), ["val_loss"], look=Look(is_interactive=True)))
    box = tab.locator("svg").first.bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.wait_for_selector(".vg-tooltip.visible")
    shown = dict(line.split("\t") for line in tab.locator(".vg-tooltip").inner_text().split("\n"))
    assert shown["version"] == "v1"
    assert set(shown) == {"version", "epoch", "time", "val_loss", "val_accuracy"}


def test_a_switch_of_the_theme_needs_no_new_drawing(drawn, curve):
    tab = drawn(metric_chart(curve(3), ["val_loss"], look=Look(CSS, None)))
    colour = "getComputedStyle(document.querySelector('.mark-line path')).stroke"
    assert tab.evaluate(colour) == "rgb(1, 2, 3)"
    tab.evaluate("document.documentElement.className = 'dark'")
    assert tab.evaluate(colour) == "rgb(200, 100, 50)"
    assert tab.evaluate("document.querySelector('[role=graphics-document]').ariaLabel").startswith(
        "val_loss by epoch: 3 versions. best v2"
    )
