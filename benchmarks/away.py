"""What a mirror that is away adds to training: nothing.

The mirror's address is a port of this machine. Either no program listens there, or one accepts
connections and never answers.
"""

from __future__ import annotations

import os
import socket
import statistics
from typing import TYPE_CHECKING

import kept
from benchmarks.contenders import Callback, Kept
from benchmarks.models import dense, samples
from benchmarks.rows import Outcome
from benchmarks.training import LONG, Plan, calibrate, run_fit

if TYPE_CHECKING:
    from benchmarks.training import Run

_LIMIT = 1.5  # of a median of few saves


class KeptMirrored(Kept):
    """kept.ModelCheckpoint with a mirror in object storage that does not answer."""

    name = "mirror away"

    def _port(self) -> int:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            return int(unused.getsockname()[1])

    def callback(self, folder: str, save_freq: str | int) -> Callback:
        os.environ |= {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._port()}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_REGION": "us-east-1",
        }
        self._callback = kept.ModelCheckpoint(
            os.path.join(folder, "model.keras"),
            monitor="loss",
            save_freq=save_freq,
            store=os.path.join(folder, "store"),
            name="bench",
            mirror="s3://bench/mirror",
        )
        return self._callback


class KeptSilent(KeptMirrored):
    """kept.ModelCheckpoint with a mirror that accepts connections and never answers."""

    name = "mirror silent"

    def _port(self) -> int:
        self._server = socket.create_server(("127.0.0.1", 0), backlog=64)
        return int(self._server.getsockname()[1])

    def close(self) -> None:
        super().close()
        self._server.close()


def measure(*, quick: bool) -> Outcome:
    """Run the same fit without a mirror, with one that is away, and with one that is silent."""
    outcome = Outcome()
    model = dense(30 if quick else 300)
    step, saved = calibrate(model, samples(model, 1))
    plan = Plan("long steps", max(4, round(LONG * saved / step)), 4 if quick else 6)
    runs = {c.name: run_fit(c, model, plan) for c in (Kept(), KeptMirrored(), KeptSilent())}
    base = runs["kept"]
    for contender in (KeptMirrored, KeptSilent):
        name, run = contender.name.removeprefix("mirror "), runs[contender.name]
        outcome.add(f"stall with a mirror that is {name} / without", run.stall, base.stall, _LIMIT)
        rate = _rate(run), _rate(base)
        outcome.add(f"steps/s with a mirror that is {name} / without", *rate, 0.9, least=True)
    for name, run in runs.items():
        outcome.seconds[f"{name}: stall per save"] = run.stall
        outcome.seconds[f"{name}: end of the fit"] = run.hooks["on_train_end"]
        outcome.raw[name] = {"stalls": run.stalls, "total": run.total}
    return outcome


def _rate(run: Run) -> float:
    """Return steps per second, by the median step."""
    return 1 / statistics.median(seconds for seconds, *_ in run.steps)
