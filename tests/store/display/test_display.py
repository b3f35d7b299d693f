"""What notebooks display of a store, an artifact, a version and a callback."""

import re
import sys
import warnings
from html.parser import HTMLParser

import pytest

import kept
from kept.bucket.memory import MemoryBucket
from kept.errors import Unreachable
from kept.store.display.measured import epoch_of, metrics_of, monitor_of, points_of
from tests.helpers import arrays, keras

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\u202e"
VOID = {"img", "br", "path", "circle", "polyline"}


class Checked(HTMLParser):
    """Reads HTML: its texts, and that every element is closed, plain and without a script."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open, self.texts = [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert tag not in {"script", "img", "style", "link", "iframe", "a"}
        assert all(not name.startswith("on") for name, _ in attrs)
        assert all(not (v or "").startswith(("http", "//")) for n, v in attrs if "xmlns" not in n)
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def shown(value):
    """The texts that a notebook displays of a value."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        html = value._repr_html_()
    assert "\u202e" not in html
    return Checked(html).texts


def fill(store, count, name="digits", **more):
    for epoch in range(count):
        loss = 1 / (epoch + 1)
        metrics = {"val_loss": loss, "acc": 1 - loss, **more}
        metadata = {"epoch": epoch, "monitor": "val_loss", "mode": "min", "value": loss,
                    "metrics": metrics}  # fmt: skip
        aliases = [f"epoch_{epoch}", *(["best"] if epoch == count - 1 else [])]
        file = kept.MemoryFile("model.bin", [b"%d" % epoch * 100])
        store.log_artifact(name, file, aliases=aliases, metadata=metadata, capture=False)


def test_an_empty_store_says_how_to_fill_it(store):
    assert any("It is empty" in text for text in shown(store))


def test_a_store_is_a_table_of_artifacts_with_curves(store):
    fill(store, 3)
    store.log_artifact("plain", kept.MemoryFile("f", [b"x"]), capture=False)
    texts = shown(store)
    assert texts[:3] == ["memory:", " ", "a store of 2 artifacts"]
    assert texts[3:10] == ["artifact", "latest", "best", "metric", "versions", "bytes", "updated"]
    assert {"digits", "plain", "v2", "v2 (val_loss 0.333333)"} <= set(texts)
    assert "val_loss: 1 to 0.333333, 3 versions" in texts
    assert store._repr_html_().count("kept-sparkline") == 1


def test_a_large_store_shows_its_newest_artifacts(store):
    for n in range(55):
        store.log_artifact(f"run-{n:02}", kept.MemoryFile("f", [b"%d" % n]), capture=False)
    texts = shown(store)
    assert "5 more artifacts: store.artifacts()" in texts
    assert "run-54" in texts
    assert "run-00" not in texts


def test_an_artifact_is_a_chart_and_its_newest_versions(store):
    fill(store, 25)
    store.set_alias("digits:v3", "prod")
    texts = shown(store["digits"])
    assert "best v24 0.04 (epoch 24)" in texts
    assert "prod" in texts
    assert "5 older: artifact.versions()" in texts
    rows = [text for text in texts if re.fullmatch(r"v\d+", text)]
    assert rows == [f"v{n}" for n in range(24, 4, -1)]
    assert len(store["digits"]._repr_html_()) < 60_000


def test_without_the_package_of_charts_the_table_stays(store, monkeypatch):
    fill(store, 2)
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    texts = shown(store["digits"])
    assert "For a chart here: pip install 'kept[plot]'" in texts
    assert "v1" in texts


def test_an_artifact_without_versions_says_why(store):
    fill(store, 1)
    artifact = store["digits"]
    store.delete("digits:v0", force=True)
    assert "All its versions were deleted." in shown(artifact)
    fill(store, 1, "a")
    before = store["a"]
    store.rename("a", "b")
    assert "It was renamed to b." in shown(before)


def test_a_version_has_its_facts_and_the_lines_to_copy(tmp_path):
    store = kept.open_store(tmp_path / "my store")
    fill(store, 2)
    version = store["digits:v1"].update(description="good", tags=["t"])
    version = version.log_metrics({"test_acc": 0.75})
    texts = "|".join(shown(version))
    assert "|digits:v1|" in f"|{texts}"
    for part in ("|test_acc|0.75|", "|val_loss|0.5|", "|description|good|", "|tags|t|",
                 "|epoch|1|", "|health|not measured|", "|model.bin|100 B|"):  # fmt: skip
        assert part in texts
    location = str(tmp_path / "my store")
    assert f"kept.open_store('{location}')['digits:v1'].download('digits-v1')" in texts
    assert f"kept get digits:v1 --store '{location}'" in texts
    assert "load_model" not in texts, "the version has no file of a model"
    namespace = {"kept": kept}
    assert eval(f"kept.open_store('{location}')['digits:v1']", namespace) == version


def test_what_users_wrote_is_escaped_everywhere(store):
    fill(store, 2, **{EVIL: 1.0})
    version = store["digits:v1"].update(description=EVIL, tags=["x"], note=EVIL)
    for value in (store, store["digits"], version):
        assert all("\x00" not in text for text in shown(value))
    html = version._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_unhealthy_versions_are_marked(store):
    found = {"health": "unhealthy", "health_findings": ["dense: 12 of 640 values are NaN"]}
    store.log_artifact("m", kept.MemoryFile("f", [b"x"]), metadata=found, capture=False)
    assert "unhealthy: dense: 12 of 640 values are NaN" in shown(store["m"])
    assert "unhealthy; dense: 12 of 640 values are NaN" in shown(store["m:v0"])


def test_a_diff_is_tables_with_the_largest_change_first(store):
    for epoch in range(2):
        data = keras(arrays(epoch, dense=4000, other=400))
        metadata = {"epoch": epoch, EVIL: EVIL}
        file = kept.MemoryFile("m.keras", [data])
        store.log_artifact("m", file, metadata=metadata, capture=False)
    texts = shown(store["m:v0"].diff(store["m:v1"]))
    assert texts[0] == "m:v0 → m:v1"
    assert "relative" in texts
    assert any("dense" in text for text in texts)
    assert texts[texts.index("epoch") :][:4] == ["epoch", "0", "1", "+1"]


def test_damage_is_a_message_and_no_traceback(tmp_path):
    store = kept.open_store(tmp_path)
    fill(store, 3)
    version = store["digits:v1"]
    [manifest] = (tmp_path / "manifests").rglob(f"*{version.record.manifest[:20]}*")
    manifest.write_bytes(b"damaged")
    assert any(text.startswith("Cannot be shown: ") for text in shown(version))
    for path in (tmp_path / "artifacts" / "digits").rglob("*"):
        if path.is_file():
            path.write_bytes(b"{}")
    store = kept.open_store(tmp_path)
    assert any("Warning: " in text or "Cannot be shown" in text for text in shown(store))


def test_a_server_that_does_not_answer_is_a_message(store, monkeypatch):
    fill(store, 1)
    artifact, version = store["digits"], store["digits:v0"]

    def fail(*_, **__):
        raise Unreachable("no answer from <b>the server</b>")

    for name in ("get", "keys", "list"):
        if hasattr(MemoryBucket, name):
            monkeypatch.setattr(MemoryBucket, name, fail)
    for value in (artifact, version):
        assert "Cannot be shown: no answer from <b>the server</b>" in shown(value)


def test_a_deleted_artifact_is_a_message(store):
    assert any("No artifact" in text for text in shown(kept.Artifact(store, "gone")))


def test_metrics_of_any_form_are_numbers(store):
    metadata = {"monitor": "a", "value": "nan", "epoch": 10**400,
                "metrics": {"b": True, "c": "text", "d": 10**400, "e": "-inf", "f": 2}}  # fmt: skip
    version = store.log_artifact(
        "m", kept.MemoryFile("f", [b"x"]), metadata=metadata, capture=False
    )
    found = metrics_of(version.record)
    assert found.keys() == {"a", "e", "f"}
    assert (found["e"], found["f"]) == (-float("inf"), 2.0)
    assert epoch_of(version.record) is None
    [point] = points_of([version.record], "a")
    assert point.flags == ()
    view = store.log("m").view()
    assert monitor_of(view, [version.record]) is None  # NaN is no score


def test_the_rule_of_an_artifact_decides_which_metric_is_shown(store):
    fill(store, 3)
    store["digits"].set_best("acc", "max")
    records = [version.record for version in store.newest_first("digits")]
    assert monitor_of(store.log("digits").view(), records) == "acc"
    assert "v2 (acc 0.666667)" in shown(store)


@pytest.mark.parametrize("name", ["Store", "Artifact", "Version"])
def test_displaying_is_not_loaded_before_it_is_used(name):
    from tests.helpers import finish, start

    code = "import sys, kept; getattr(kept, sys.argv[1]); print('kept.charts.look' in sys.modules)"
    assert finish(start(code, name)) == ["False"]


def test_the_chart_has_the_metric_on_training_and_validation_data(store):
    fill(store, 3, loss=0.5)
    assert {"val_loss, loss", "epoch"} <= set(shown(store["digits"]))


def test_versions_without_an_epoch_have_a_chart_over_versions(store):
    for n in range(2):
        file = kept.MemoryFile("f", [b"%d" % n])
        store.log_artifact("m", file, capture=False).log_metrics({"test_acc": n / 2})
    texts = shown(store["m"])
    assert texts.count("test_acc") >= 2
    assert "epoch" not in texts


def test_very_many_metrics_do_not_fill_the_notebook(store, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    metrics = {f"m{number}": number for number in range(5000)}
    version = store.log_artifact("many", tmp_path / "file", metadata={"metrics": metrics})
    texts = shown(version)
    assert "m99" in texts
    assert "m100" not in texts
    assert "4,900 more metrics: version.metadata" in texts
