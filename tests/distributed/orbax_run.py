"""A fit whose weights are sharded across the processes, saved by kept.OrbaxCheckpoint.

Arguments: Orbax's folder and the store's. Each process reports its own parts of a kernel.
"""

import sys

from tests.distributed.child import WORLD, join, report

join("jax")

import keras  # noqa: E402 - Keras's framework is chosen by now
import numpy as np  # noqa: E402

import kept  # noqa: E402

devices = keras.distribution.list_devices()
mesh = keras.distribution.DeviceMesh((1, len(devices)), ["batch", "model"], devices)
layout = keras.distribution.LayoutMap(mesh)
if WORLD > 1:
    layout[".*up/kernel"] = (None, "model")
keras.distribution.set_distribution(
    keras.distribution.ModelParallel(
        layout_map=layout, batch_dim_name="batch", auto_shard_dataset=False
    )
)

keras.utils.set_random_seed(1)
inputs = keras.Input((8,))
hidden = keras.layers.Dense(16, name="up")(inputs)
model = keras.Model(inputs, keras.layers.Dense(1, name="down")(hidden), name="small")
model.compile(keras.optimizers.Adam(name="adam"), "mse")

directory, store = sys.argv[1:]
callback = kept.OrbaxCheckpoint(directory, "loss", name="m", store=store, max_to_keep=1)
rng = np.random.default_rng(0)
x, y = rng.normal(size=(16, 8)).astype("float32"), rng.normal(size=(16, 1)).astype("float32")
model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0, callbacks=[callback])

kernel = model.get_layer("up").kernel.value
report(
    versions=[version.reference for version in callback.versions],
    name=callback.name,
    sharded=not kernel.is_fully_addressable and not kernel.is_fully_replicated,
    parts=[
        [[part.start, part.stop] for part in shard.index] + [np.asarray(shard.data).tolist()]
        for shard in kernel.addressable_shards
    ],
)
