"""`import kept` is cheap, and every public name is where users look for it."""

import ast
import json
from pathlib import Path

import pytest

import kept
from tests.helpers import finish, start

SOURCE = Path(kept.__file__).parent
DEAR = [
    "keras", "tf_keras", "tensorflow", "jax", "torch", "wandb", "obstore", "numpy", "h5py", "rich",
    "starlette", "fastapi", "click", "asyncio",
]  # fmt: skip


@pytest.mark.parametrize(
    "code",
    [
        "import kept",
        "import kept; kept.open_store(sys.argv[1]).artifacts()",
        "import kept; kept.KeptError, kept.Store, kept.Version, kept.Artifact",
        "import kept; kept.open_store(sys.argv[1]).log_artifact('m', sys.argv[2]).verify()",
    ],
)
def test_what_is_cheap_loads_nothing_dear(tmp_path, code):
    (tmp_path / "file").write_bytes(b"x" * 5_000_000)
    code = f"import json, sys; {code}; print(json.dumps(sorted(sys.modules)))"
    [line] = finish(start(code, tmp_path / "store", tmp_path / "file"))
    loaded = {name.split(".")[0] for name in json.loads(line)}
    assert "kept" in loaded
    assert loaded & set(DEAR) == set()


# What took the command 10 ms at each start, and what such a module imports.
DEAR_AT_START = [
    "shutil", "subprocess", "difflib", "unicodedata", "struct", "bz2", "lzma", "rich",
    "kept.names", "kept.store", "kept.cli.suggest", "tempfile",
]  # fmt: skip
DEAR_IN_VERBS = [
    "shutil", "subprocess", "difflib", "bz2", "lzma", "rich", "keras", "numpy", "sqlite3",
    "kept.store.commit", "kept.store.origin.capture", "kept.store.origin.links",
    "kept.store.search.index", "kept.store.artifact", "kept.store.rank.best",
    "kept.cli.ls_search", "kept.cli.suggest",
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "dear"),
    [
        (["--version"], DEAR_AT_START),
        (["ls"], DEAR_IN_VERBS),
        (["ls", "m"], DEAR_IN_VERBS),
        (["show", "m"], DEAR_IN_VERBS),
        (["alias", "m:v0", "x"], DEAR_IN_VERBS),
    ],
)
def test_the_command_starts_without_what_it_does_not_need(tmp_path, arguments, dear):
    kept.open_store(tmp_path).log_artifact("m", kept.MemoryFile("f", [b"x"]), capture=False)
    code = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules))))
sys.argv = ["kept", "--store", *sys.argv[1:]]
import kept.cli.main
kept.cli.main.main()
"""
    *_, line = finish(start(code, tmp_path, *arguments))
    assert set(json.loads(line)) & set(dear) == set()


def test_import_alone_loads_one_module_of_its_own():
    code = "import sys, kept; print([name for name in sys.modules if name.startswith('kept')])"
    assert finish(start(code)) == ["['kept']"]


NEEDS_KERAS = {name for name, home in kept._HOME.items() if home.startswith("kept.training.")}


def without(package, code):
    """Run code in a process that lacks Keras, its framework or tf_keras; return what it prints."""
    assert package in {"keras", "jax", "tf_keras"}
    code = f"""
import inspect, os, pydoc, sys
os.environ["KERAS_BACKEND"] = "jax"
os.environ["TF_USE_LEGACY_KERAS"] = "{int(package == "tf_keras")}"
sys.modules["{package}"] = None
import kept
{code}
"""
    return "\n".join(finish(start(code)))


HINTS = [
    ("keras", "kept.ModelCheckpoint needs Keras, which is not installed.", "'kept[keras]'"),
    ("jax", "kept.ModelCheckpoint needs Keras, and Keras needs jax", "'kept[jax]'"),
    ("tf_keras", "kept.ModelCheckpoint needs tf_keras", "pip install tf_keras"),
]


WAYS = {
    "kept.ModelCheckpoint": "AttributeError",
    "from kept import ModelCheckpoint": "ModuleNotFoundError",
    "from kept import Store, ModelCheckpoint": "ModuleNotFoundError",
}


@pytest.mark.parametrize(("package", "message", "remedy"), HINTS)
def test_a_name_that_needs_a_missing_package_says_what_to_install(package, message, remedy):
    shown = without(
        package,
        f"""
import traceback
for way in {list(WAYS)}:
    try:
        exec(way)
    except Exception as error:
        print(traceback.format_exc().splitlines()[-1])
""",
    )
    for line, error in zip(shown.splitlines(), WAYS.values(), strict=True):
        assert line.startswith(f"{error}: {message}")
        assert remedy in line
        assert "Did you mean" not in line


@pytest.mark.parametrize("package", ["keras", "jax"])
def test_without_keras_every_way_to_look_at_kept_works(package):
    shown = without(
        package,
        """
print([hasattr(kept, name) for name in ("ModelCheckpoint", "keras", "Store")])
print(getattr(kept, "resume", None))
print("ModelCheckpoint" in dir(kept))
print([name for name, value in inspect.getmembers(kept)] == [n for n in sorted(kept.__all__)])
print("class Store" in pydoc.render_doc("kept", renderer=pydoc.plaintext))
""",
    )
    assert shown.splitlines() == ["[False, False, True]", "None", "True", "True", "True"]


@pytest.mark.parametrize("package", ["keras", "jax"])
def test_without_keras_a_star_import_takes_the_other_names(package):
    code = "before = set(globals()); from kept import *; print(*sorted(set(globals()) - before))"
    names = without(package, code).split()
    assert set(names) - {"before"} == set(dir(kept)) - NEEDS_KERAS


def test_with_keras_a_star_import_takes_all_names():
    code = "from kept import *; print(*sorted({*dir(kept)} - {*globals()}))"
    assert finish(start("import kept, os; os.environ['KERAS_BACKEND'] = 'jax'; " + code)) == [""]


def test_another_missing_package_is_not_taken_for_keras():
    code = "sys.modules['numpy'] = None\ntry: kept.Dataset\nexcept Exception as e: print(repr(e))"
    assert "import of numpy halted" in without("tf_keras", code)


def test_the_public_names():
    assert sorted(kept.__all__) == sorted(dir(kept)) == sorted(set(kept.__all__))
    assert set(kept._HOME) == set(dir(kept)) - {"__version__"}
    for name in set(kept.__all__) - NEEDS_KERAS:  # tests/training has the others
        assert getattr(kept, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = kept.nonsense


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(kept.__file__).read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    imported = {alias.name for node in block.body for alias in getattr(node, "names", [])}
    [declared] = [ast.literal_eval(n.value) for n in block.body if isinstance(n, ast.Assign)]
    assert declared == sorted(dir(kept))
    assert imported - {"Iterator"} == set(declared) - {"__version__"}


def test_every_public_name_is_where_it_is_said_to_be():
    for name, module in kept._HOME.items():
        path = SOURCE.joinpath(*module.split(".")[1:]).with_suffix(".py")
        defined = {getattr(node, "name", None) for node in ast.parse(path.read_text()).body}
        assert name in defined


def test_a_memory_file_is_stored_under_its_name():
    store = kept.open_store("memory:")
    version = store.log_artifact("m", kept.MemoryFile("weights.bin", [b"ab", b"c"]))
    assert [(file.path, file.size) for file in version.files] == [("weights.bin", 3)]
