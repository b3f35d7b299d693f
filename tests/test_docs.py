"""What the documentation says is run: examples, links, the command's reference."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import kept

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


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


def test_kept_writes_what_the_format_shows(format_store, tmp_path):
    """The same files in a new store give the same keys and bytes, but for time and write_id."""
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


_PRELUDE = """
import os
os.environ.setdefault("KERAS_BACKEND", "jax")
import keras, numpy as np
x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
y = x.sum(axis=1, keepdims=True)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile("adam", "mse")
"""


def test_the_code_of_the_readme_runs(tmp_path):
    code = [text for language, _, text in blocks("README.md") if language == "python"]
    assert code
    program = "\n".join([_PRELUDE, *code])
    environment = os.environ | {"KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("KEPT_STORE", None)
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in _LINK.findall(page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_every_file_that_the_architecture_names_is_there():
    text = (ROOT / "docs/architecture.md").read_text()
    for name in re.findall(r"`((?:\w+/)*\w+\.py)`", text):
        places = [ROOT / "src/kept" / name, ROOT / name, ROOT / "src/kept/training" / name]
        assert any(place.exists() for place in places), name


def test_every_dependency_has_its_reason():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    reasons = (ROOT / "docs/dependencies.md").read_text()
    extras = [item for extra in project["optional-dependencies"].values() for item in extra]
    for requirement in [*project["dependencies"], *extras]:
        name = re.match(r"[\w-]+", requirement)[0]
        assert re.search(rf"\b{name}\b", reasons), f"docs/dependencies.md lacks {name}"
