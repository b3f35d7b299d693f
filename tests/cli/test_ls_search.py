"""kept ls with a condition, an order, a glob or columns."""

import pytest

import kept


@pytest.fixture
def runs(run, tmp_path):
    store = kept.open_store("kept-store")
    for name, losses in {"run_a": (0.5, 0.125), "run_b": (0.25,), "other": (0.75,)}.items():
        for epoch, loss in enumerate(losses):
            content = kept.MemoryFile("w", [name.encode(), bytes([epoch])])
            metadata = {"metrics": {"val_loss": loss}, "epoch": epoch, "note": "a\nb"}
            store.log_artifact(name, content, metadata=metadata, capture=False)
    return store


def lines(result):
    return [line.split() for line in result.stdout.splitlines()]


def test_a_table_in_the_order_of_the_search(run, runs):
    title, *rows = lines(
        run("ls", "--where", "val_loss < 0.6 and epoch >= 0", "--sort", "val_loss")
    )
    assert title == ["version", "val_loss", "epoch", "aliases", "size", "created"]
    assert [row[:3] for row in rows] == [
        ["run_a:v1", "0.125", "1"],
        ["run_b:v0", "0.25", "0"],
        ["run_a:v0", "0.5", "0"],
    ]


def test_a_glob_lists_versions_newest_first(run, runs):
    title, *rows = lines(run("ls", "run_*"))
    assert title == ["version", "aliases", "size", "created"]
    assert [row[0] for row in rows] == ["run_b:v0", "run_a:v1", "run_a:v0"]
    assert [row[0] for row in lines(run("ls", "run_a", "--limit", "1"))[1:]] == ["run_a:v1"]


def test_an_index_is_not_needed(run, runs):
    asked = ("ls", "--sort", "-val_loss", "--limit", "2")
    assert run(*asked).stdout == run(*asked, "--no-index").stdout


def test_columns(run, runs):
    result = run("ls", "--sort", "-val_loss", "--columns", "note,val_loss,aliases,version")
    title, first, *_ = result.stdout.splitlines()
    assert title.split() == ["version", "note", "val_loss", "aliases", "version"]
    assert first.split() == ["other:v0", "a\\nb", "0.75", "latest", "0"]


def test_json(run, runs):
    found = run.json("ls", "--where", "name_x or val_loss <= 0.25", "--sort", "val_loss")
    assert [item["reference"] for item in found] == ["run_a:v1", "run_b:v0"]
    assert found[0]["metadata"]["epoch"] == 1
    found = run.json("ls", "run_*", "--sort", "-val_loss", "--columns", "val_loss,aliases")
    assert found == [
        {"reference": "run_a:v0", "val_loss": 0.5, "aliases": []},
        {"reference": "run_b:v0", "val_loss": 0.25, "aliases": ["latest"]},
        {"reference": "run_a:v1", "val_loss": 0.125, "aliases": ["latest"]},
    ]


def test_a_wrong_condition_is_marked(run, runs):
    result = run("ls", "--where", "val_loss > and x", exit=2)
    message, text, mark = result.stderr.splitlines()
    assert message.startswith("Error: The condition cannot be read")
    assert text[mark.index("^") :].startswith("and x")


def test_names_that_no_version_has(run, runs):
    result = run("ls", "--where", "val_los < 1")
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "No version fits.",
        "No version has 'val_los'. Did you mean val_loss?",
    ]
    assert "No version has 'acc'." in run("ls", "--sort", "acc").stderr
    assert run("ls", "--where", "epoch > 100").stderr == "No version fits.\n"


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["--all", "--sort", "x"], 2),
        (["--limit", "-1"], 2),
        (["--sort", ""], 2),
        (["missing", "--limit", "1"], 3),
    ],
)
def test_wrong_use(run, runs, args, code):
    run("ls", *args, exit=code)
