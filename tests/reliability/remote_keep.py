"""The operation `keep` of the suite `remote`: a callback frees what `keep=` deletes.

Another artifact shares a blob with a version that goes, and a third one the whole version.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import kept
from kept.errors import KeptError
from kept.store.gc.owned import OwnedBlobs
from kept.store.version import take_written
from tests.reliability.remote_store import files_of, given

if TYPE_CHECKING:
    from tests.reliability.remote_store import State, Tree

VERSIONS = tuple(files_of("k", n) for n in range(4))
# Its manifest is the last one in the alphabet, which lists that are old or cut off lack first.
SHARING: Tree = {"n.bin": b"202" * 600, "own.bin": VERSIONS[1]["own.bin"]}
FAULTS = ("truncated", "missing")  # of a LIST, besides those of all operations


def run(location: str) -> str:
    """Save four versions, keep the last one and free the others; return how many keys went."""
    store, others = kept.open_store(location), kept.open_store(location)
    owned = OwnedBlobs(store.logs, "k")
    for n, files in enumerate(VERSIONS):
        version = store.log_artifact("k", given(Path("k"), files))
        owned.committed(version.record.manifest, take_written(version))
        if n == 1:
            others.log_artifact("s", given(Path("s"), SHARING))
        if n == 2:
            others.log_artifact("t", given(Path("k"), files))
    store.prune("k", kept.Keep(last=1))
    try:
        return str(owned.collect(timedelta(0)))
    except KeptError as error:  # as the callback's thread does: the next run tries again
        return f"the bytes of deleted versions stay for now: {error}"


def done(state: State) -> str:
    """Return what is not as it must be; the versions of others are among what is not lost."""
    for name, files in (("k", VERSIONS[3]), ("s", SHARING), ("t", VERSIONS[2])):
        if state.named(name)[-1:] != [files]:
            return f"the newest version of {name} is not what was saved"
    return ""
