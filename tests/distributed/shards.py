"""Script: weights that are sharded across processes, from a version and into a snapshot.

Arguments: the folder of the store, the size of the mesh's first axis, and whether some values are
printed that only a test of costs compares.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from tests.distributed.child import RANK, WORLD, join, report


def main(store: str, batch: int) -> None:
    join("jax")
    import jax
    from jax.experimental.multihost_utils import process_allgather

    import kept
    from kept.training.keras_api.sharded.load_weights import can_load_sharded, load_sharded
    from kept.training.keras_api.sharded.version_file import open_file
    from kept.training.snapshot import shards
    from kept.training.snapshot.devices import exchange
    from tests.distributed import sharded_model

    shards.LARGEST, exchange._ON_CPU = 128 * 1024, 32 * 1024  # so that small arrays have pieces
    sharded_model.shard((batch, jax.device_count() // batch))
    model = sharded_model.build()
    variables = sharded_model.variables(model)
    file = open_file(kept.open_store(store).version("sharded"), "m.keras")
    assert can_load_sharded(file.name)
    load_sharded(file, model)
    report(read=file.bytes_read, size=file.size, is_sharded=shards.is_sharded(variables))

    whole = [
        np.asarray(
            one.value.addressable_data(0)
            if one.value.is_fully_replicated
            else process_allgather(one.value, tiled=True)
        )
        for one in variables
    ]
    report(digests=sharded_model.digests(whole))

    snapshot = shards.ShardedSnapshot(RANK, WORLD)
    snapshot.reserve(variables)
    snapshot.touch()
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        snapshot.take(variables)
        seconds.append(round(time.perf_counter() - start, 3))
    wrong = [
        str(piece)
        for piece, memory in snapshot.own_pieces()
        if bytes(memory) != whole[piece.variable].tobytes()[piece.start : piece.stop]
    ]
    wrong += [str(piece) for memory, piece in snapshot.foreign() if any(memory)]
    pieces = [list(piece) for piece, _ in snapshot.own_pieces()]
    report(wrong=wrong, pieces=pieces, own=snapshot.size, seconds=seconds)


main(sys.argv[1], int(sys.argv[2]))
