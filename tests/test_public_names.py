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


def test_import_alone_loads_one_module_of_its_own():
    code = "import sys, kept; print([name for name in sys.modules if name.startswith('kept')])"
    assert finish(start(code)) == ["['kept']"]


def test_without_keras_it_is_said_what_to_install():
    code = """import sys, kept
sys.modules["keras"] = None
try:
    kept.ModelCheckpoint
except ModuleNotFoundError as error:
    print(error)
"""
    [said] = finish(start(code))
    assert said.startswith("kept.ModelCheckpoint needs Keras")
    assert "pip install 'kept[keras]'" in said


def test_the_public_names():
    assert sorted(kept.__all__) == sorted(dir(kept)) == sorted(set(kept.__all__))
    assert set(kept._HOME) == set(kept.__all__) - {"__version__"}
    needs_keras = {name for name, home in kept._HOME.items() if home.startswith("kept.training")}
    for name in set(kept.__all__) - needs_keras:  # those are tested where Keras is
        assert getattr(kept, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = kept.nonsense


def test_every_public_name_is_where_it_is_said_to_be():
    for name, module in kept._HOME.items():
        path = SOURCE.joinpath(*module.split(".")[1:]).with_suffix(".py")
        defined = {getattr(node, "name", None) for node in ast.parse(path.read_text()).body}
        assert name in defined
