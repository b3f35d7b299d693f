"""Where and with what the benchmarks ran, and their results as JSON and Markdown."""

from __future__ import annotations

import json
import os
import platform
import textwrap
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = (
    "kept", "keras", "jax", "torch", "tensorflow-cpu", "orbax-checkpoint", "wandb", "trackio",
    "numpy", "h5py",
)  # fmt: skip
FRAMEWORKS = {"jax": "JAX", "torch": "torch", "tensorflow": "TensorFlow", "": "ratio"}
TITLES = {
    "idle": "Nothing else running, 300 MB of weights and Adam state",
    "training": "During training, 300 MB of weights and Adam state",
    "wandb_stall": "The same with W&B",
    "away": "The same with a mirror that is away",
    "layers": "Many small layers",
    "frozen": "A frozen base of 50 MB and a small head",
    "space": "Bytes on the disk, twenty versions of a real training",
    "health": "Health, measured while a version is written",
    "coded": "Restoring what is stored in less room, and storing it so beside a training",
    "restore_s3": "Restoring from object storage, on an S3 server of the same machine",
    "many_artifacts": "Thousands of artifacts, against listing their files",
    "search": "Searching thousands of artifacts, against listing their files",
    "diff": "A diff of two versions, against loading both files and comparing them",
    "command": 'A fresh process, against a bare `python -c "import json"`',
}
HOW_TO_READ = """\
Both sides of a ratio are measured in one run on one machine, in turns. So a slow minute of the
machine slows both sides. Limits are the promises of the project; **over** marks a promise that this
run did not keep. Absolute times are at the end; they mean little on other machines.

* A *stall* is the time that a callback's hook stops the training thread: the median per save,
  without the first save of a run. A *warm copy* copies the same number of bytes, tensor by tensor,
  between host memory that is already in use. It uses one core, as NumPy does (memcpy).
* *Stall and delay of the next step* adds the time by which the step after a save exceeds the median
  step. This figure has the limit, because Orbax on JAX takes only references in its hook: the next
  step finds its buffers in use and must copy them. If a peer takes less than ten warm copies, a
  tenth of that is less than the one copy that a snapshot needs.
* *Long steps*: an epoch takes three times as long as one save with Keras, so training can hide the
  save. *Short steps*: an epoch has three steps, so a run waits for the disk.
* Runs have ten epochs with a save each, and end when fit returns. With kept every version is
  durable then (fsync); the last bytes of the peers may still be in the system's cache. Every
  contender has five runs with long steps and three with short ones, in rounds. The ratio of two
  runs is the median over the rounds. All stalls and steps count.
* The TensorFlow dataset has no autotuning. With autotuning, as for arrays, the end of an epoch
  waits up to a second for the tuner's thread, with or without a save. A callback that takes as long
  hides that wait.
* kept writes the bytes twice: as a version in its store and as the file that Keras would write.
  Keras's callback writes them once, W&B's twice.
* *Save to durable version* begins with the hook and ends when the version is committed and synced
  (fsync). *And file* ends when the file has its final name too, and is synced.

`make bench` runs all of it again and writes this page.
"""

Results = dict[str, dict[str, Any]]  # benchmark -> framework -> outcome


def new_file() -> Path:
    """Return the path for the results of a run that begins now."""
    RESULTS.mkdir(exist_ok=True)
    return RESULTS / f"{_now():%Y-%m-%d-%H%M%S}.json"


def write(results: Results, file: Path) -> None:
    """Write the results as JSON."""
    file.write_text(json.dumps(_head() | results, indent=1))


def write_page(results: Results) -> None:
    """Write the results as the page in docs."""
    PAGE.write_text(markdown(_head(), results))


def _head() -> dict[str, Any]:
    return {"date": _now().isoformat(), "machine": machine(), "versions": versions()}


def _now() -> datetime:
    return datetime.now().astimezone()


def machine() -> str:
    """Return the machine in words."""
    import tempfile

    here = tempfile.gettempdir()
    mounts = [m for m in psutil.disk_partitions(all=True) if here.startswith(m.mountpoint)]
    kind = max(mounts, key=lambda m: len(m.mountpoint)).fstype if mounts else "unknown"
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB of memory, {kind} on disk, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions of what was compared."""
    return {name: metadata.version(name) for name in PACKAGES}


def markdown(whole: dict[str, Any], results: Results) -> str:
    """Return the page."""
    named = ", ".join(f"{name} {version}" for name, version in whole["versions"].items())
    where = textwrap.fill(f"{whole['date'][:10]}. {named}. {whole['machine']}.", 100)
    head = f"# Benchmarks\n\n{where}\n\n{HOW_TO_READ}"
    tables = [_section(name, outcomes) for name, outcomes in results.items()]
    return "\n".join([head, *tables, _seconds(results)])


def _section(name: str, outcomes: dict[str, Any]) -> str:
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for framework, outcome in outcomes.items():
        for row in outcome["rows"]:
            rows.setdefault(row["what"], {})[framework] = row
    lines = [_line(what, cells, list(outcomes)) for what, cells in rows.items()]
    return f"## {TITLES[name]}\n\n{_columns('limit', outcomes)}\n" + "\n".join(lines) + "\n"


def _columns(column: str, outcomes: dict[str, Any]) -> str:
    names = [FRAMEWORKS[name] for name in outcomes]
    rule = "|---|" + "---|" * bool(column) + "---:|" * len(names)
    return f"| {' | '.join(['', *filter(None, [column]), *names])} |\n{rule}"


def _line(what: str, cells: dict[str, dict[str, Any]], columns: list[str]) -> str:
    limits = dict.fromkeys(_limit(row) for row in cells.values())
    texts = [cell(cells[name]) if name in cells else "" for name in columns]
    return f"| {what} | {' / '.join(limits)} | {' | '.join(texts)} |"


def _limit(row: dict[str, Any]) -> str:
    sign = "≥" if row["at_least"] else "≤"
    return "" if row["limit"] is None else f"{sign} {row['limit']:g}"


def cell(row: dict[str, Any]) -> str:
    """Return a ratio as text, and whether it keeps its limit."""
    verdict = {True: " ok", False: " **over**", None: ""}[row["ok"]]
    return f"{row['ratio']:.3g}{verdict}"


def _seconds(results: Results) -> str:
    parts = ["## Absolute times, seconds\n"]
    for name, outcomes in results.items():
        whats = dict.fromkeys(what for outcome in outcomes.values() for what in outcome["seconds"])
        if whats:
            parts.append(f"{TITLES[name]}:\n\n{_columns('', outcomes)}")
            parts += [_times_line(what, outcomes) for what in whats]
            parts.append("")
    return "\n".join(parts)


def _times_line(what: str, outcomes: dict[str, Any]) -> str:
    found = [outcome["seconds"].get(what) for outcome in outcomes.values()]
    return f"| {what} | {' | '.join('' if s is None else f'{s:.3f}' for s in found)} |"
