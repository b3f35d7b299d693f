"""kept sync, and what kept ls says of mirrors."""

from __future__ import annotations

import functools
import json

import pytest
from click.testing import CliRunner

import kept
from kept.cli.main import cli
from kept.store.receipts import Receipts, receipts
from tests.conftest import KEY_ID, SECRET
from tests.helpers import write


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KEPT_OUTBOX", raising=False)


@pytest.fixture
def here(tmp_path):
    store = kept.open_store(tmp_path / "here")
    for n in range(3):
        store.log_artifact("m", write(tmp_path / "f", b"%d" % n * 1000), aliases=[f"e{n}"])
    store.log_artifact("other", write(tmp_path / "f", b"other"))
    return store


def run(*args, code=0):
    result = CliRunner().invoke(cli, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result.output


def test_to_object_storage_and_back(here, s3, tmp_path):
    out = json.loads(run("--store", here.location, "sync", s3, "--json"))
    [result] = out
    assert result["target"] == s3
    assert [(a["name"], a["versions"]) for a in result["artifacts"]] == [("m", 3), ("other", 1)]
    assert "nothing new" in run("--store", here.location, "sync", s3)
    run("sync", s3, tmp_path / "back", "--artifact", "m")
    back = kept.open_store(tmp_path / "back")
    assert [a.name for a in back.artifacts()] == ["m"]
    assert [v.digest for v in back.versions("m")] == [v.digest for v in here.versions("m")]
    assert back.verify().problems == []
    for command in (
        ["ls"],
        ["ls", "m"],
        ["show", "m:e1"],
        ["verify"],
        ["get", "m", tmp_path / "g"],
    ):
        shown = run("--store", s3, *command)
        assert KEY_ID not in shown
        assert SECRET not in shown
    run("--store", s3, "alias", "m:v0", "prod")
    run("--store", s3, "rm", "m:v1", "--force", "-y")
    run("sync", s3, here.location)
    assert here["m:prod"].index == 0
    assert [v.index for v in here.versions("m")] == [0, 2]


def test_ls_tells_what_is_mirrored(here, tmp_path):
    assert "mirrored" not in run("--store", here.location, "ls", "m")
    target = kept.open_store(tmp_path / "target")
    Receipts(here.bucket, target.location).register("m")
    listed = json.loads(run("--store", here.location, "ls", "m", "--json"))
    assert [v["mirrored"] for v in listed] == [{target.location: False}] * 3
    assert run("--store", here.location, "ls", "m").count("local") == 3
    assert "m: 3 versions" in run("--store", here.location, "sync")
    listed = json.loads(run("--store", here.location, "ls", "m", "--json"))
    assert [v["mirrored"] for v in listed] == [{target.location: True}] * 3
    here.log_artifact("m", write(tmp_path / "f", b"new"))
    listed = json.loads(run("--store", here.location, "ls", "m", "--json"))
    assert [v["mirrored"][target.location] for v in listed] == [True, True, True, False]


def test_wrong_usage(here, tmp_path):
    run("sync", "--status", tmp_path / "t", code=2)
    assert "same store" in run("--store", here.location, "sync", here.location, code=2)
    assert "No artifact" in run(
        "--store", here.location, "sync", tmp_path / "t", "--artifact", "none", code=3
    )
    run("sync", "a", "b", "c", code=2)
    run("sync", tmp_path / "nothing", tmp_path / "t", code=3)


def test_stores_that_differ_are_refused(here, tmp_path):
    other = kept.open_store(tmp_path / "t")
    other.log_artifact("m", write(tmp_path / "f", b"its own"))
    out = run("--store", here.location, "sync", tmp_path / "t", code=1)
    assert "is not a copy" in out
    assert len(other.versions("m")) == 1


def test_with_nothing_to_do_it_says_so(here, tmp_path):
    assert run("sync") == f"Nothing waits in {tmp_path}/kept-outbox.\n"
    out = run("--store", here.location, "sync")
    assert out == f"Nothing waits in {tmp_path}/kept-outbox; {here.location} has no mirrors.\n"
    assert "Nothing waits" in run("sync", "--status")
    assert json.loads(run("sync", "--json")) == json.loads(run("sync", "--status", "--json")) == []
    assert [path.name for path in tmp_path.iterdir() if path.name != "f"] == ["here"]


def test_status_tells_what_mirrors_lack(here, tmp_path):
    receipts = Receipts(here.bucket, str(tmp_path / "target"))
    receipts.register("m")
    receipts.register("not-yet-there")
    [waits] = json.loads(run("--store", here.location, "sync", "--status", "--json"))
    assert waits["destination"] == waits["label"] == str(tmp_path / "target")
    assert (waits["artifact"], waits["versions"], waits["bytes"]) == ("m", 3, 3000)
    assert waits["since"] == here["m:v0"].record.created_at
    run("--store", here.location, "sync", "--artifact", "m")
    assert json.loads(run("--store", here.location, "sync", "--status", "--json")) == []


def test_a_store_that_is_away_does_not_hide_what_waits(tmp_path, s3, proxy, quick):
    proxy.fault = lambda *_: "away"
    result = CliRunner().invoke(cli, ["--store", s3, "sync", "--status"])
    assert result.exit_code == 0
    assert "Cannot ask the store for its mirrors" in result.stderr
    assert "Nothing waits" in result.stdout


def test_checkpoints_of_one_artifact_for_a_store(s3, tmp_path, monkeypatch):
    from kept.sync.outbox.outbox import Outbox

    monkeypatch.chdir(tmp_path)
    for n, name in enumerate(["m", "other", "m"]):
        file = write(tmp_path / f"f{n}", b"%d" % n * 100)
        label = {"artifact": name, "type": "model", "aliases": [], "metadata": {}}
        Outbox().add(s3, {"f": file}, label)
    assert f"1 checkpoint (100 B) sent to {s3}" in run("sync", "--artifact", "other")
    assert [a.name for a in kept.open_store(s3).artifacts()] == ["other"]
    [waits] = json.loads(run("sync", "--status", "--json"))
    assert (waits["artifact"], waits["versions"]) == ("m", 2)


class TestOutbox:
    """Checkpoints that wait for W&B, put there by offline runs."""

    @pytest.fixture
    def waits(self, wandb_server, tmp_path):
        import wandb

        from kept.sync.wandb.uploads import UploadInfo, WandbUploads

        names = []
        for _ in range(2):
            offline = wandb.init(project="p", mode="offline")
            uploads = WandbUploads(offline)
            names.append(f"run_{offline.id}_model")
            for n in range(2):
                label = UploadInfo(names[-1], aliases=["latest", f"epoch_{n}"])
                file = write(tmp_path / "f", b"%d" % n * 500)
                uploads.add(label, {"m.keras": file})
                file.unlink()
            wandb.finish()
        return names

    def test_status_and_sync(self, waits, wandb_server, tmp_path):
        listed = json.loads(run("sync", "--status", "--json"))
        assert [w["artifact"] for w in listed] == waits
        assert [(w["versions"], w["bytes"]) for w in listed] == [(2, 1000)] * 2
        [row] = [line for line in run("sync", "--status").splitlines() if waits[0] in line]
        assert row.startswith(f"W&B p/{waits[0][4:-6]}")
        assert "1.0 kB" in row
        assert wandb_server.faults.calls == []
        sent = json.loads(run("sync", "--json"))
        assert [(s["sent"], s["bytes"], s["left"], s["error"]) for s in sent] == [
            (2, 1000, 0, None)
        ] * 2
        for name in waits:
            versions = wandb_server.versions(name)
            assert [set(v.aliases) for v in versions] == [{"epoch_0"}, {"epoch_1", "latest"}]
        assert "Nothing waits" in run("sync")
        assert list(tmp_path.iterdir()) == []

    def test_one_artifact_from_another_folder(self, waits, wandb_server, tmp_path, monkeypatch):
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        folder = tmp_path / "kept-outbox"
        assert "2 checkpoints (1.0 kB) sent to W&B p/" in run(
            "sync", "--outbox", folder, "--artifact", waits[1]
        )
        monkeypatch.setenv("KEPT_OUTBOX", str(folder))
        assert [w["artifact"] for w in json.loads(run("sync", "--status", "--json"))] == waits[:1]

    def test_a_server_that_is_away(self, waits, wandb_server, tmp_path):
        wandb_server.stop()
        out = run("sync", code=1)
        assert out.count("Error: 2 checkpoints for W&B p/") == 2
        assert "does not answer" in out
        wandb_server.start()
        assert len(json.loads(run("sync", "--status", "--json"))) == 2
        run("sync")

    @pytest.fixture
    def saved_for(self, wandb_server, tmp_path):
        """Save a checkpoint offline for a server that does not answer; return its artifact."""
        import wandb

        from kept.sync.wandb.uploads import UploadInfo, WandbUploads

        settings = wandb.Settings(base_url="http://127.0.0.1:9")
        began = wandb.init(project="p", mode="offline", settings=settings)
        name = f"run_{began.id}_model"
        WandbUploads(began).add(UploadInfo(name), {"m.keras": write(tmp_path / "f", b"1" * 500)})
        wandb.finish()
        return name

    def test_an_offline_run_goes_to_the_server_of_the_environment(
        self, saved_for, wandb_server, monkeypatch
    ):
        monkeypatch.delenv("WANDB_BASE_URL")
        assert "http://127.0.0.1:9 does not answer" in run("sync", code=1)
        monkeypatch.setenv("WANDB_BASE_URL", wandb_server.url + "/")
        result = CliRunner().invoke(cli, ["sync", "--json"])
        [sent] = json.loads(result.stdout)
        assert (sent["sent"], sent["error"]) == (1, None)
        assert f"were saved for http://127.0.0.1:9; sending them to {wandb_server.url}\n" in (
            result.stderr
        )
        assert len(wandb_server.versions(saved_for)) == 1
        assert "Nothing waits" in run("sync")

    def test_base_url_names_the_server(self, saved_for, wandb_server, monkeypatch):
        monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        assert "1 checkpoint (500 B) sent" in run("sync", "--base-url", wandb_server.url)
        assert len(wandb_server.versions(saved_for)) == 1

    def test_an_online_run_stays_with_its_server_while_that_answers(
        self, waits, wandb_server, monkeypatch
    ):
        from kept.sync.outbox.outbox import Outbox
        from kept.sync.wandb import resumed
        from kept.sync.wandb.sender import place_of_entry

        [first, *_] = entries = Outbox().entries()
        place = place_of_entry(first)
        monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        assert resumed._server_for(place, entries) == "http://127.0.0.1:9"
        for entry in entries:
            entry.info["run"]["offline"] = False
        assert resumed._server_for(place, entries) == wandb_server.url
        wandb_server.stop()
        assert resumed._server_for(place, entries) == "http://127.0.0.1:9"
        wandb_server.start()

    @pytest.mark.parametrize("url", ["wandb.ai", "ftp://host", "https://", ""])
    def test_a_base_url_that_is_none(self, url):
        assert "a URL begins with https://" in run("sync", "--base-url", url, code=2)

    def test_base_url_is_for_wandb_only(self):
        assert "for sending to W&B" in run("sync", "s3://b", "--base-url", "http://h", code=2)

    def test_one_that_cannot_be_sent_does_not_hold_up_the_others(
        self, waits, wandb_server, tmp_path
    ):
        from kept.sync.outbox.outbox import Outbox

        entry = Outbox().entries()[0]
        write(tmp_path / "x", b"changed").replace(entry.files[0].file)
        out = json.loads(run("sync", "--json", code=1))
        assert [(s["sent"], s["left"]) for s in out] == [(1, 1), (2, 0)]
        assert "changed in place" in out[0]["error"]

    def test_what_another_process_sends_is_left_to_it(self, waits, wandb_server):
        from kept.sync.outbox.outbox import Outbox

        with Outbox().draining(Outbox().entries()[0].destination):
            out = run("sync")
        assert "2 checkpoints for W&B p/" in out
        assert "left: another process is sending them" in out
        assert "2 checkpoints (1.0 kB) sent" in out


def test_a_mirror_that_will_not_come_back_is_forgotten(tmp_path):
    store = kept.open_store(tmp_path / "here")
    gone, other = str(tmp_path / "gone"), str(tmp_path / "other")
    for name in ("a", "b"):
        store.log_artifact(name, kept.MemoryFile("f", [name.encode()]))
        for place in (gone, other):
            Receipts(store.bucket, kept.open_store(place).location).register(name)
    here = ["--store", store.location, "sync"]
    call = functools.partial(CliRunner().invoke, cli)
    found = call([*here, "--forget", str(tmp_path / "never")])
    assert found.exit_code == 3
    assert f"no such mirror. Received: {tmp_path / 'never'}. Known: {gone}, {other}" in found.output
    found = call([*here, "--forget", f"{gone}/", "--artifact", "a", "--json"])
    assert json.loads(found.output) == {"mirror": gone, "artifacts": ["a"]}
    assert [r.artifact for r in receipts(store.bucket) if r.destination == gone] == ["b"]
    assert call([*here, "--forget", gone]).exit_code == 0
    assert {r.destination for r in receipts(store.bucket)} == {other}
    assert call(here).exit_code == 0
    assert not (tmp_path / "gone" / "kept.json").exists()
    assert call([*here, "--status", "--forget", other]).exit_code == 2


@pytest.fixture
def hidden(here, tmp_path):
    """The location of a mirror whose only receipt is damaged, and the key of this receipt."""
    mirror = str(tmp_path / "mirror")
    Receipts(here.bucket, mirror).register("m")
    (key,) = here.bucket.keys("outbox/")
    here.bucket.put(key, [b"?"])
    return mirror, key


@pytest.mark.parametrize("name", ["the location", "the folder", "a relative path"])
def test_a_mirror_is_forgotten_whose_receipt_is_damaged(here, hidden, name):
    mirror, key = hidden
    folder = key.rpartition("/")[0]
    named = {"the location": mirror, "the folder": f"{folder}/", "a relative path": "mirror"}[name]
    out = run("--store", here.location, "sync", "--forget", named)
    assert out.startswith(f"{folder if name == 'the folder' else mirror} is no mirror of m any")
    assert "A run that still mirrors there counts it again" in out
    assert list(here.bucket.keys("outbox/")) == []


@pytest.mark.parametrize("named", ["outbox/0123456789abcdef", "outbox/0", "outbox"])
def test_nothing_is_forgotten_without_a_receipt(here, hidden, named):
    out = run("--store", here.location, "sync", "--forget", named, code=3)
    assert f"no such mirror. Received: {named}. Known: outbox/" in out
    folder = hidden[1].rpartition("/")[0]
    out = run("--store", here.location, "sync", "--forget", folder, "--artifact", "o", code=3)
    assert f"no such mirror of o. Received: {folder}. Known: none" in out
    assert list(here.bucket.keys("outbox/")) == [hidden[1]]
