"""A run of W&B in this process, and the checkpoints that it hands to kept."""

from __future__ import annotations

import os

from kept.sync.outbox.outbox import Outbox
from kept.sync.wandb.resumed import send_left
from kept.sync.wandb.uploads import UploadInfo, WandbUploads
from tests.helpers import write


class Trainer:
    """A run, and the checkpoints that it saves."""

    def __init__(self, folder, **options):
        import wandb

        self.run = wandb.init(project="p", **options)
        self.outbox = Outbox(folder / "outbox")
        self.uploads = WandbUploads(self.run, self.outbox)
        self.uploads.begin()
        self.name = f"run_{self.run.id}_model"
        self._folder = folder
        self.saved = []

    def save(self, data, n=None, **more):
        n = len(self.saved) if n is None else n
        label = {"aliases": ["latest", f"epoch_{n}"], "metadata": {"epoch": n}} | more
        file = write(self._folder / "m.keras", data)
        self.uploads.add(UploadInfo(self.name, **label), {"m.keras": file})
        file.unlink()
        self.saved.append(data)

    def is_on(self, server):
        versions = server.versions(self.name)
        assert [server.content(version)["m.keras"] for version in versions] == self.saved
        assert [v.aliases for v in versions[:-1]] == [[f"epoch_{v.index}"] for v in versions[:-1]]
        assert set(versions[-1].aliases) == {"latest", f"epoch_{len(self.saved) - 1}"}
        assert self.outbox.entries() == []
        assert not os.path.exists(self.outbox.folder)
        return versions


def sync(outbox):
    for destination in {entry.destination for entry in outbox.entries()}:
        assert list(send_left(outbox, destination))
