"""What the documentation says is run: examples, links, the command's reference."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import kept
from kept.store import format_marker
from kept.store.content import manifest
from tests.helpers import tree

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_DEFINITION = re.compile(r"^\[[^\]]+\]: (\S+)$", re.MULTILINE)
REPOSITORY = "https://github.com/kept-dev/kept/blob/main/"


def blocks(page: str) -> list[tuple[str, str, str]]:
    """The code blocks of a page: language, name, text."""
    return _BLOCK.findall((ROOT / page).read_text())


@pytest.fixture
def format_store(tmp_path):
    """A store made of nothing but the examples of docs/format.md."""
    for language, key, text in blocks("docs/format.md"):
        if key:
            path = tmp_path / "store" / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes.fromhex(text) if language == "hex" else text.encode())
    return tmp_path / "store"


def test_the_examples_of_the_format_are_a_store(format_store, tmp_path):
    store = kept.open_store(format_store)
    report = store.verify()
    assert (report.problems, report.versions, report.chunks) == ([], 1, 2)
    version = store["example:prod"]
    assert version.aliases == ("latest", "first", "prod")
    version.download(tmp_path / "out")
    assert (tmp_path / "out" / "greeting.txt").read_text() == "hello, world\n"
    assert (tmp_path / "out" / "numbers.csv").read_text() == "1,2,3\n"


def test_kept_writes_what_the_format_shows(format_store, tmp_path, monkeypatch):
    """The same files in a new store give the same keys and bytes, but for time and random ids."""
    shown_id = json.loads((format_store / "kept.json").read_text())["id"]
    monkeypatch.setattr(format_marker, "new_id", lambda: shown_id)
    for name, text in (("greeting.txt", "hello, world\n"), ("numbers.csv", "1,2,3\n")):
        (tmp_path / name).write_text(text)
    store = kept.open_store(tmp_path / "new")
    paths = [tmp_path / "greeting.txt", tmp_path / "numbers.csv"]
    store.log_artifact("example", paths, type="text", aliases=["first"], metadata={"note": "kept"})
    shown = {p.relative_to(format_store): p.read_bytes() for p in format_store.rglob("*.json")}
    shown |= {p.relative_to(format_store): p.read_bytes() for p in format_store.glob("blobs/*/*")}
    for key, data in shown.items():
        written = tmp_path / "new" / key
        if "log" not in key.parts:
            assert written.read_bytes() == data
    assert len(list((tmp_path / "new").glob("artifacts/example/log/*"))) == 1


def test_the_reader_of_the_format_page_works(format_store, tmp_path):
    code = next(text for language, _, text in blocks("docs/format.md") if language == "python")
    assert len(code.splitlines()) <= 80
    target = tmp_path / "restored"
    command = [sys.executable, "-c", code, str(format_store), "example", "first", str(target)]
    subprocess.run(command, check=True)
    assert (target / "greeting.txt").read_text() == "hello, world\n"


def test_the_reader_of_the_format_page_reads_a_checkpoint(tmp_path):
    """A stranger's reader against a store with packs, large blobs and moved aliases."""
    code = next(text for language, _, text in blocks("docs/format.md") if language == "python")
    source = tmp_path / "model.bin"
    store = kept.open_store(tmp_path / "store")
    for index in range(3):
        source.write_bytes(os.urandom(5_000_000) + bytes([index]))
        store.log_artifact("m", source, aliases=["best"])
    target = tmp_path / "restored"
    command = [sys.executable, "-c", code, str(tmp_path / "store"), "m", "best", str(target)]
    subprocess.run(command, check=True)
    assert (target / "model.bin").read_bytes() == source.read_bytes()


def test_the_reader_of_the_format_page_reads_a_list_in_parts(tmp_path, monkeypatch):
    code = next(text for language, _, text in blocks("docs/format.md") if language == "python")
    monkeypatch.setattr(manifest, "MOST_FILES", 100)
    folder, store = tmp_path / "many", kept.open_store(tmp_path / "store")
    folder.mkdir()
    for number in range(2000):
        (folder / f"{number}.txt").write_text(f"{number}")
    assert len(store.log_artifact("m", folder).manifest.parts) > 1
    (folder / "77.txt").write_text("changed")
    store.log_artifact("m", folder, aliases=["best"])
    arguments = [str(tmp_path / "store"), "m", "best", str(tmp_path / "out")]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)
    assert tree(tmp_path / "out" / "many") == tree(folder)


def test_the_reader_of_the_format_page_reads_coded_blobs(tmp_path):
    """Floats of either byte order, halves and small tensors, each with and without a base."""
    code = next(text for language, _, text in blocks("docs/format.md") if language == "python")
    random = np.random.default_rng(0)
    names = {"a": "<f4", "b": ">f4", "c": "<f8", "d": "<f2", "e": "<i8", "f": "u1"}
    state = {name: random.normal(0, 9, 400_000) for name in names} | {"g": random.normal(0, 9, 99)}
    store, files = kept.open_store(tmp_path / "store"), []
    for epoch in range(3):
        with h5py.File(tmp_path / "m.h5", "w") as file:
            for name, tensor in state.items():
                file[name] = tensor.astype(names.get(name, "<f4"))
                state[name] = tensor + random.normal(0, 0.001, tensor.shape)
        store.log_artifact("m", tmp_path / "m.h5", aliases=[f"e{epoch}"])
        files.append((tmp_path / "m.h5").read_bytes())
    assert store.compact().blobs > 10
    for epoch, content in enumerate(files):
        target = tmp_path / f"restored{epoch}"
        arguments = [str(tmp_path / "store"), "m", f"e{epoch}", str(target)]
        subprocess.run([sys.executable, "-c", code, *arguments], check=True)
        assert (target / "m.h5").read_bytes() == content


def run(command: list[str] | str, folder: Path) -> str:
    """Run a program or a command line as a reader would, in a folder; return what it printed."""
    scripts = Path(sys.executable).parent
    environment = os.environ | {
        "KERAS_BACKEND": "jax",
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    for name in ("KEPT_STORE", "KEPT_OUTBOX", "WANDB_RUN_ID"):
        environment.pop(name, None)
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        shell=isinstance(command, str),
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def shown(text: str) -> list[str]:
    """The words and signs of an output, without what differs between runs and machines."""
    without_digests = re.sub(r"\b[0-9a-f]{10}\b", "#", text)
    return re.sub(r"\d+(\.\d+)?", "0", without_digests).split()


def test_the_readme_runs_as_pasted_and_prints_what_it_shows(tmp_path):
    [code] = [text for language, _, text in blocks("README.md") if language == "python"]
    (tmp_path / "train.py").write_text(code + "\n")
    consoles = [text for language, _, text in blocks("README.md") if language == "console"]
    assert len(consoles) == 2
    for console in sorted(consoles, key=lambda text: "train.py" not in text):
        command, _, output = console.removeprefix("$ ").partition("\n")
        assert shown(run(command, tmp_path)) == shown(output)


def test_the_readme_says_where_the_store_is(tmp_path, monkeypatch):
    text = (ROOT / "README.md").read_text()
    assert "The versions are in `./kept-store`, or in `$KEPT_STORE`" in text
    monkeypatch.delenv("KEPT_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    assert Path(kept.open_store().location) == tmp_path / "kept-store"
    monkeypatch.setenv("KEPT_STORE", str(tmp_path / "elsewhere"))
    assert Path(kept.open_store().location) == tmp_path / "elsewhere"


def test_the_howto_page_runs(tmp_path):
    """All blocks in order, as one program; a block with a name needs an account or a server."""
    program = ["import subprocess"]
    for language, name, text in blocks("docs/howto.md"):
        if name:
            compile(text, f"docs/howto.md: {name}", "exec")
        elif language == "sh":
            program += [
                f"subprocess.run({line!r}, shell=True, check=True)" for line in text.splitlines()
            ]
        else:
            assert language == "python"
            program.append(text)
    run([sys.executable, "-c", "\n".join(program)], tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "compact", "delete", "deleted", "download", "gc", "load_model", "load_weights",
        "log_artifact", "prune", "remove_alias", "search", "set_alias", "set_ttl", "undelete",
        "usage", "verify", "versions",
    ],
)  # fmt: skip
def test_the_howto_page_uses_every_method(name):
    code = "\n".join(text for language, _, text in blocks("docs/howto.md") if language == "python")
    assert f".{name}(" in code


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page; equal ones get a number."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        again = (f"{name}-{number}" for number in itertools.count(1))
        found.add(name if name not in found else next(n for n in again if n not in found))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = page.read_text()
    for link in [*_LINK.findall(text), *_DEFINITION.findall(text)]:
        place, _, anchor = link.partition("#")
        if place.startswith(REPOSITORY):
            target = ROOT / place.removeprefix(REPOSITORY)
        elif "://" in place:
            continue
        else:
            target = page.parent / place if place else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}"


def test_the_links_of_the_readme_are_absolute_and_defined():
    """A package index shows the README, and a relative link leads nowhere there."""
    text = (ROOT / "README.md").read_text()
    assert not [link for link in _LINK.findall(text) if "://" not in link]
    defined = re.findall(r"^\[([^\]]+)\]: https://", text, re.MULTILINE)
    prose = re.sub(r"(?ms)^```.*?^```$|`[^`]*`|^    [^\n]*$", "", text)
    used = re.findall(r"\[([^\]]+)\](?![:(\[])", prose)
    assert sorted(set(used)) == sorted(defined)


def test_every_file_that_the_architecture_names_exists():
    """A name without folders is in the part whose section names it."""
    part = ""
    for line in (ROOT / "docs/architecture.md").read_text().splitlines():
        if line.startswith("#"):
            part = found[1] if (found := re.match(r"### `(\w+)/`", line)) else ""
        row = found[1] if (found := re.match(r"\| `(\w+)/` \|", line)) else ""
        for name in re.findall(r"`((?:\w+/)*\w+\.py)`", line):
            places = [
                ROOT / name,
                *(ROOT / "src/kept" / p / name for p in ("", part, f"{part}/{row}")),
            ]
            beside = re.findall(r"`((?:\w+/)+)\w+\.py`", line)  # "`a/b.py`, its cause `c.py`"
            places += [ROOT / "src/kept" / folder / name for folder in beside]
            assert any(place.exists() for place in places), f"{part}/{row} {name}"


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/design/*.md")), ids=lambda page: page.stem)
def test_every_file_that_a_design_note_names_exists(page):
    for name in re.findall(r"`((?:\w+/)+\w+\.(?:py|c))`", page.read_text()):
        assert (ROOT / "src/kept" / name).exists() or (ROOT / name).exists(), name


def test_every_dependency_has_its_reason():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    reasons = (ROOT / "docs/dependencies.md").read_text()
    extras = [item for extra in project["optional-dependencies"].values() for item in extra]
    for requirement in [*project["dependencies"], *extras]:
        name = re.match(r"[\w-]+", requirement)[0]
        assert re.search(rf"\b{name}\b", reasons), f"docs/dependencies.md lacks {name}"
