"""The notebook of examples/, and what a real kernel displays of kept."""

import json
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

EXAMPLE = Path(__file__).parent.parent / "examples" / "notebook.ipynb"


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Run the cells of a notebook with this Python, in a folder of its own; return the notebook."""
    spec = {"argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": "this Python", "language": "python"}  # fmt: skip
    folder = tmp_path / "jupyter" / "kernels" / "this-python"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps(spec))
    for name in ("JUPYTER_PATH", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("COLUMNS", "80")
    work = tmp_path / "work"
    work.mkdir()

    def run(notebook):
        resources = {"metadata": {"path": str(work)}}
        client = NotebookClient(
            notebook, kernel_name="this-python", timeout=240, resources=resources
        )
        return client.execute()

    return run


def cells(*sources):
    return new_notebook(cells=[new_code_cell(source) for source in sources])


def texts(cell):
    """What a cell prints, and the text of the HTML that it displays."""
    found = []
    for output in cell.outputs:
        if output.output_type == "stream":
            found.append(output.text)
        elif "text/html" in output.get("data", {}):
            found.append(re.sub(r"<[^>]+>", "|", output.data["text/html"]))
    return "\n".join(found)


def test_the_example_runs_and_shows_what_it_promises(execute):
    notebook = execute(nbformat.read(EXAMPLE, as_version=4))
    shown = {cell.id: texts(cell) for cell in notebook.cells if cell.cell_type == "code"}
    for cell in notebook.cells:
        outputs = cell.get("outputs", [])
        assert [o.text for o in outputs if o.get("name") == "stderr"] == [], cell.id
    assert "The last of 4 checkpoints:" in shown["train"]
    assert "a store of 1 artifact" in shown["store"]
    assert "val_loss: " in shown["store"]  # the title of the curve
    assert "digits" in shown["artifact"]
    assert re.search(r"best v3 0\.\d+ \(epoch 3\)", shown["artifact"])
    assert ".load_model()" in shown["version"]
    assert "digits:v0 → digits:v3" in shown["diff"]
    assert "dense" in shown["diff"]
    assert "● val_loss   ■ val_accuracy" in shown["chart"]
    assert "┌" in shown["chart"]
    assert "Epoch 5/6" in shown["resume"]
    assert "Epoch 4/6" not in shown["resume"]
    found = re.search(r"(digits:v\d): accuracy (\S+), logged (\S+)", shown["load"])
    assert found
    assert float(found[2]) == pytest.approx(float(found[3]), abs=2e-4)
    assert float(found[2]) > 0.85


def test_the_example_is_committed_without_outputs():
    """Outputs have times, paths and curves of one run, so each run would change the file."""
    for cell in nbformat.read(EXAMPLE, as_version=4).cells:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


PROGRESS = """
import time
from kept.progress import progress

with progress("Copying <b>x</b>", "bytes") as update:
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        update(1_000_000, 3_000_000)
        time.sleep(0.02)
print("the end")
"""


def test_a_bar_leaves_nothing_behind(execute):
    quick = 'with progress("quick", "bytes") as update: update(1, 2)'
    notebook = execute(cells(PROGRESS, quick))
    [bar, printed] = notebook.cells[0].outputs
    assert bar.data["text/html"] == ""
    assert printed.text == "the end\n"
    assert notebook.cells[1].outputs == []


def test_a_fit_that_waits_for_a_mirror_ends_with_its_own_line(execute):
    """The callback prints whole lines, none of which is joined to the bar of Keras."""
    setup = """
import keras, kept, numpy as np

model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
model.compile("adam", "mse")
checkpoint = kept.ModelCheckpoint(
    "{epoch}.keras", "loss", verbose=1, store="store", name="m", mirror="mirror"
)
history = model.fit(np.ones((64, 4)), np.ones((64, 3)), epochs=2, callbacks=[checkpoint])
print("after")
"""
    notebook = execute(cells(setup, "checkpoint"))
    shown = texts(notebook.cells[0])
    lines = [line for line in shown.splitlines() if "saving model" in line]
    assert len(lines) == 4
    assert all(line.startswith("Epoch ") for line in lines)
    assert shown.splitlines()[-1] == "after"
    assert "<progress" not in str(notebook.cells[0].outputs)
    assert "The last of 2 checkpoints:" in texts(notebook.cells[1])
