"""A store of the suite `remote` behind a proxy of its own, and what must be so at the end."""

from __future__ import annotations

import json
import os
import shutil
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from kept.bucket.object_storage import bucket as object_bucket
from kept.bucket.object_storage import client
from tests.reliability.remote_store import BUCKET, Raw, State, state_of_objects
from tests.servers.lying import LyingProxy

if TYPE_CHECKING:
    from tests.reliability.remote_operations import Operation
    from tests.reliability.remote_store import Template, Tree

# Silence of a server ends early, so that a case takes seconds; `silence` has the real limits.
SHORT = {
    "_SILENCE": timedelta(seconds=3), "_LONGEST": timedelta(seconds=10),
    "_RETRIES_FOR": timedelta(seconds=10),
}  # fmt: skip
Finding = tuple[str, str]  # outcome, what


def short_limits() -> None:
    """Give up early, in this process."""
    object_bucket.RETRIES = 2
    for name, value in SHORT.items():
        if isinstance(getattr(client, name, None), timedelta):
            setattr(client, name, value)
    client.SLOWEST = 20e6  # so that large uploads end early, too


class Place:
    """The store of a case: its objects, the proxy in front of them, and a folder."""

    def __init__(self, template: Template, name: str, variant: str = "store") -> None:
        self.template, self.variant = template, variant
        self.prefix = f"{name}-{os.urandom(8).hex()}"
        self.location = f"s3://{BUCKET}/{self.prefix}"
        endpoint = os.environ["AWS_ENDPOINT_URL"]
        self.raw = Raw.kind(endpoint, self.prefix)
        self.proxy = LyingProxy(endpoint)
        os.environ["AWS_ENDPOINT_URL"] = self.proxy.endpoint
        mirror = Path("mirror").absolute()
        self.values = template.values(variant)
        if variant == "store":
            shutil.copytree(template.root / "mirror", mirror)
            self.values |= template.receipts(mirror)
        self.raw.put(self.values)

    def state(self, *, after_gc: bool = False) -> State:
        """Read the store without kept's requests; after the gc of the variant has gone on."""
        values = self.raw.get()
        if after_gc:
            condemned = [key for name in self.values if name.startswith("gc/")
                         for key in json.loads(self.values[name])["keys"]]  # fmt: skip
            for key in condemned:
                values.pop(key, None)
        return state_of_objects(values, Path("copied").absolute())

    def findings(self, operation: Operation, state: State) -> list[Finding]:
        """Return what is wrong with the store, whatever the operation has reported."""
        found: list[Finding] = [("lost", f"damage: {problem}") for problem in state.problems]
        before = self.expected()
        for reference, files in before.items():
            if reference not in operation.removes and state.versions.get(reference) != files:
                found.append(("lost", f"{reference} is not as it was"))
        if self.variant == "store":
            lost = self.template.state.aliases.items() - state.aliases.items()
            found += [("lost", f"alias {a}") for a, ref in lost
                      if ref not in operation.removes and not a.endswith(":latest")]  # fmt: skip
        for name in ("m", "n", "b", "p"):
            found += self.order_of(name, operation, before, state)
        return found

    def expected(self) -> dict[str, Tree]:
        if self.variant == "store":
            return self.template.state.versions
        return {ref: files for ref, files in self.template.state.versions.items()
                if ref in ("m:v0", "m:v2", "b:v0")}  # fmt: skip

    def order_of(
        self, name: str, operation: Operation, before: dict[str, Tree], state: State
    ) -> list[Finding]:
        """Return versions that are double, in the wrong order, or that no operation made."""
        right = [files for ref, files in before.items() if ref.startswith(f"{name}:")]
        at = 1 if operation.name == "undelete" else len(right)
        right[at:at] = operation.adds
        found, places = state.named(name), []
        for files in found:
            if files not in right:
                return [("lost", f"{name} has a version with other content")]
            places.append(right.index(files))
        if len(set(places)) < len(places):
            return [("doubled", f"{name}: {places}")]
        return [] if places == sorted(places) else [("disordered", f"{name}: {places}")]
