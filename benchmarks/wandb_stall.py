"""What W&B adds to the stall of a save: nothing, with its server there or away.

The server is that of the tests, in a process of its own; the SDK is W&B's.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import kept
from benchmarks.contenders import Callback, Contender, Kept
from benchmarks.models import dense, samples
from benchmarks.rows import Outcome
from benchmarks.training import LONG, Plan, calibrate, run_fit

_SERVER = """
import json, os, sys
os.nice(19)  # on the machine of the training, where a server of W&B is not
from tests.servers.wandb_server import WandbServer
with WandbServer() as server:
    print(json.dumps(server.environment), flush=True)
    sys.stdin.read()
"""
_LIMIT = 1.5  # of a median of few saves on a machine that uploads on the same two cores


class Server:
    """A W&B server; the SDK asks for its address once in a process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self.environment: dict[str, str] = json.loads(self._process.stdout.readline())

    def pause(self) -> None:
        """Have it answer nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Have it answer again."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


class KeptWandb(Contender):
    """kept.WandbModelCheckpoint with a run that is online, at least at its beginning."""

    def __init__(self, server: Server, *, away: bool) -> None:
        self.name = f"server {'away' if away else 'there'}"
        self._server, self._away = server, away

    def callback(self, folder: str, save_freq: str | int) -> Callback:
        for variable in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
            os.environ[variable] = folder
        os.environ |= {"WANDB_SILENT": "true", "KEPT_OUTBOX": os.path.join(folder, "outbox")}
        import wandb

        wandb.init(project="bench")
        if self._away:
            self._server.pause()
        path = os.path.join(folder, "model.keras")
        self._callback = kept.WandbModelCheckpoint(path, monitor="loss", save_freq=save_freq)
        return self._callback

    def is_busy(self) -> bool:
        return not self._callback.wait(0)

    def close(self) -> None:
        self._callback.close()
        import wandb

        self._server.go_on()  # wandb itself would wait for it for a quarter of an hour
        wandb.finish()


def measure(*, quick: bool) -> Outcome:
    """Run the same fit with a store, and with W&B, its server there and away."""
    from kept.sync import courier

    courier.FINISH_SECONDS = 5.0  # the end of a fit waits that long for a server that is away
    outcome = Outcome()
    model = dense(30 if quick else 300)
    step, saved = calibrate(model, samples(model, 1))
    plan = Plan("long steps", max(4, round(LONG * saved / step)), 4 if quick else 6)
    server = Server()
    os.environ |= server.environment
    contenders = (Kept(), KeptWandb(server, away=False), KeptWandb(server, away=True))
    runs = {contender.name: run_fit(contender, model, plan) for contender in contenders}
    server.stop()
    base = runs.pop("kept")
    outcome.seconds["kept.ModelCheckpoint: stall per save"] = base.stall
    for name, run in runs.items():
        what = f"stall of WandbModelCheckpoint, {name} / of ModelCheckpoint"
        outcome.add(what, run.stall, base.stall, _LIMIT)
        outcome.seconds[f"W&B, {name}: stall per save"] = run.stall
        raw: dict[str, Any] = {"stalls": run.stalls, "total": run.total}
        outcome.raw[name] = raw
    return outcome
