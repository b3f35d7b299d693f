"""kept watch: targets, options, and what it prints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kept.errors import InvalidInput
from kept.watch import command, feed, notify, webhook
from tests.watch.receiver import SECRET, Receiver


@pytest.fixture(autouse=True)
def _own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("KEPT_WEBHOOK_SECRET", raising=False)
    monkeypatch.delenv("http_proxy", raising=False)


@pytest.fixture
def receiver():
    with Receiver() as found:
        yield found


@pytest.fixture
def script(tmp_path):
    """A command that appends what it gets to a file; return the command and a reader of it."""
    path = tmp_path / "got.jsonl"
    code = (
        "import json, os, sys; "
        "own = {k: v for k, v in os.environ.items() if k.startswith('KEPT')}; "
        f"open({str(path)!r}, 'a').write(json.dumps([own, json.load(sys.stdin)]) + chr(10))"
    )
    return f'{sys.executable} -c "{code}"', lambda: list(map(json.loads, path.open()))


def test_prints_without_a_target(run, store):
    result = run("watch", "--once", "--from-start")
    assert [line.split(" by ")[0] for line in result.stdout.splitlines()] == [
        "mnist:v0 committed as latest, epoch_0",
        "mnist:v1 committed as latest, best, epoch_1",
        "mnist:v1 is now mnist:best",
        "mnist:v2 committed as latest, epoch_2",
    ]
    assert "4 events sent" in result.stderr
    assert run("watch", "--once").stdout == ""


def test_a_name_that_no_artifact_has(run, store):
    assert "Did you mean 'mnist'?" in run("watch", "minst", "--once").stderr
    assert "so far" not in run("watch", "m*", "--once").stderr


def test_json_has_one_line_for_each_event(run, store):
    lines = run("watch", "--once", "--from-start", "--on", "commit", "--json").stdout.splitlines()
    events = list(map(json.loads, lines))
    assert [event["data"]["reference"] for event in events] == ["mnist:v0", "mnist:v1", "mnist:v2"]
    assert [event["type"] for event in events] == ["commit"] * 3
    assert events[2]["data"]["metadata"]["epoch"] == 2


def test_a_command_gets_the_event(run, store, script, monkeypatch):
    monkeypatch.setenv("KEPT_WEBHOOK_SECRET", SECRET)
    line, got = script
    result = run("watch", "mnist", "--once", "--from-start", "--on", "commit", "--run", line)
    assert len(result.stdout.splitlines()) == 3
    own, given = got()[1]
    assert json.loads(own["KEPT_EVENT"]) == given
    assert own["KEPT_EVENT_ID"] == given["id"]
    assert own["KEPT_REFERENCE"] == given["data"]["reference"] == "mnist:v1"
    assert own["KEPT_STORE"] == store.location
    assert not {"KEPT_REDELIVERY", "KEPT_WEBHOOK_SECRET"} & own.keys()
    run("watch", "mnist", "--once", "--from-start", "--on", "commit", "--run", line)
    assert len(got()) == 3


def test_a_command_that_fails(run, store):
    options = (
        "watch",
        "--once",
        "--from-start",
        "--name",
        "own",
        "--on",
        "commit",
        "--attempts",
        "2",
    )
    result = run(*options, "--run", "exit 3", exit=1)
    assert (
        "the command ended with exit code 3 (attempt 1 of 2). It is sent again by the next call"
        in result.stderr
    )
    assert "1 artifact with events to send" in result.stderr
    result = run(*options, "--run", 'test "$KEPT_REDELIVERY" != 1', exit=1)
    assert "mnist:v0 commit is given up: the command ended with exit code 1" in result.stderr
    assert result.stdout.splitlines()[0].startswith("mnist:v1 committed")
    assert "2 events sent, 1 given up" in result.stderr


def test_a_command_that_takes_too_long(run, store):
    options = ("--timeout", "0.05", "--attempts", "1", "--on", "alias")
    result = run("watch", "--once", "--from-start", *options, "--run", "sleep 60", exit=1)
    assert "mnist:v1 alias is given up: the command took more than 0.05 s" in result.stderr


def test_an_event_larger_than_the_environment(run, store, script, tmp_path):
    line, got = script
    (tmp_path / "new").write_bytes(b"new")
    store.log_artifact("large", tmp_path / "new", metadata={"text": "x" * 300_000})
    run("watch", "large", "--once", "--from-start", "--run", line)
    [(own, given)] = got()
    assert json.loads(own["KEPT_EVENT"])["data"]["metadata"] is None
    assert len(given["data"]["metadata"]["text"]) == 300_000
    assert len(own["KEPT_EVENT"]) < command._MOST


def test_many_metrics_are_cut_for_the_environment(run, store, script):
    line, got = script
    store.version("mnist:v0").log_metrics({f"{'layer' * 9}_{n}": n / 7 for n in range(3000)})
    run("watch", "--once", "--from-start", "--on", "metric", "--run", line)
    [(own, given)] = got()
    short = json.loads(own["KEPT_EVENT"])["data"]
    assert short["cut"] == ["metadata", "metrics", "logged"]
    assert len(given["data"]["logged"]) == 3000


def test_a_full_disk_behind_stdout(run, store, script):
    code = "import sys; sys.argv[0] = 'kept'; from kept.cli.main import main; main()"
    line, got = script
    options = ("watch", "--once", "--from-start", "--on", "commit", "--name", "own", "--run", line)
    for expected in (1, 2):
        with open("/dev/full", "w") as full:
            ended = subprocess.run(
                [sys.executable, "-c", code, "--store", store.location, *options],
                stdout=full, stderr=subprocess.PIPE, text=True, check=False,
            )  # fmt: skip
        assert ended.returncode == 1, ended.stderr
        assert "stdout cannot be written: No space left on device" in ended.stderr
        assert "the store cannot be read" not in ended.stderr
        assert len(got()) == expected
    assert not any("KEPT_REDELIVERY" in own for own, _ in got())


def test_events_behind_damage_are_an_exit_code(run, store):
    record = Path(store.location, store.log("mnist").records.key(3))
    record.write_bytes(b"{}")
    result = run("watch", "--once", "--from-start", "--on", "commit", exit=1)
    assert "Run kept repair" in result.stderr
    assert "1 artifact with events to send" in result.stderr


def test_a_store_that_cannot_be_read_is_an_exit_code(run, store, monkeypatch):
    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(feed.Feed, "steps", fail)
    result = run("watch", "--once", "--from-start", exit=1)
    assert "the store cannot be read now" in result.stderr


def test_an_artifact_is_watched_anew(run, store):
    run("watch", "--once", "--name", "own")
    options = ("watch", "--once", "--name", "own", "--on", "commit", "--restart")
    assert run(*options, "mnist").stdout == ""
    result = run(*options, "mnist", "--from-start")
    assert len(result.stdout.splitlines()) == 3
    assert "Did you mean 'mnist'?" in run(*options, "minst", exit=2).stderr


def test_a_file_that_holds_no_url(run, store, tmp_path):
    (tmp_path / "url").write_bytes(b"\xff\xfe")
    assert "url holds no URL" in run("watch", "--webhook", "@url", exit=2).stderr


def test_a_webhook(run, store, receiver, tmp_path):
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "url").write_text(f"{receiver.endpoint}/private/token\n")
    options = ("--webhook", "@url", "--secret-file", "secret", "--on", "alias", "--alias", "be*")
    result = run("watch", "--once", "--from-start", *options)
    [request] = receiver.received
    assert request.is_signed()
    assert request.path == "/private/token"
    assert request.event["data"]["alias"] == "best"
    receiver.answer = lambda request: 404
    result = run("watch", "--once", "--from-start", *options, "--name", "own", exit=1)
    assert "answered 404" in result.stderr
    assert "private" not in result.output


def test_two_commands_have_cursors_of_their_own(run, store, receiver):
    for options in (("--on", "commit"), ("--on", "commit"), ("--on", "alias")):
        run("watch", "--once", "--from-start", *options, "--webhook", receiver.endpoint)
    assert len(receiver.received) == 3 + 1


def test_messages_by_apprise(run, store, receiver):
    pytest.importorskip("apprise")
    url = receiver.endpoint.replace("http://", "json://")
    receiver_texts = []
    receiver.answer = lambda request: receiver_texts.append(request.event) or 200
    run("watch", "--once", "--from-start", "--on", "alias", "--notify", f"{url}/x")
    [message] = receiver_texts
    assert message["title"] == "kept: alias mnist:v1"
    assert message["message"].splitlines() == ["mnist:v1 is now mnist:best", store.location]
    receiver.answer = lambda request: 500
    result = run("watch", "--once", "--from-start", "--on", "alias", "--notify", f"{url}/y", exit=1)
    assert "Apprise could not send to json://…" in result.stderr


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--on", "comit"], 2, "Did you mean 'commit'?"),
        (["--on", ","], 2, "names no event"),
        (["mnist:v3"], 2, "NAME is an artifact"),
        (["--run", "true", "--webhook", "http://127.0.0.1:9"], 2, "start two watchers"),
        (["--webhook", "127.0.0.1"], 2, "begins with https://"),
        (["--webhook", "@missing"], 1, "No such file or directory: missing"),
        (["--webhook", "http://127.0.0.1:9", "--secret-file", "missing"], 1, "No such file"),
        (["--notify", "nonsense"], 2, "Apprise does not take"),
        (["--notify", "nonsense://x"], 2, "Apprise does not take"),
        (["--run", "true", "--timeout", "0"], 2, "--timeout is a time above 0"),
        (["--run", "true", "--attempts", "0"], 2, "0 is not in the range"),
        (["--run", "true", "--name", "a/b"], 2, "The name of a watcher"),
    ],
)
def test_wrong_options(run, store, options, code, said):
    assert said in run("watch", "--once", *options, exit=code).stderr


def test_an_interval_that_is_none(run, store):
    assert "--interval is a time" in run("watch", "--interval", "often", exit=2).stderr


def test_a_missing_store(run):
    assert "There is no store" in run("watch", "--once", exit=3).stderr


def test_without_the_packages_of_the_extras(monkeypatch):
    monkeypatch.setitem(sys.modules, "urllib3", None)
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(InvalidInput, match=r"pip install 'kept\[watch\]'"):
        webhook.Webhook("http://127.0.0.1:9", [], ("here", "1"))
    with pytest.raises(InvalidInput, match=r"pip install 'kept\[notify\]'"):
        notify.Notification("json://127.0.0.1:9", ("here", "1"))


def test_the_cursor_of_another_store(run, store, tmp_path):
    run("watch", "--once", "--state", "cursor.json")
    (tmp_path / "file").write_text("x")
    run("--store", "other", "put", "m", "file")
    result = run("--store", "other", "watch", "--once", "--state", "cursor.json", exit=2)
    assert "is the cursor of another store" in result.stderr
    assert "remove" in result.stderr
