"""On JAX most of the time would be XLA's, so it optimizes little and compiles each step once."""

import keras
import pytest


@pytest.fixture(scope="package", autouse=True)
def _compiled_once(tmp_path_factory):
    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    options = {  # and Keras's choice
        "jax_compilation_cache_dir": (str(tmp_path_factory.mktemp("xla")), None),
        "jax_persistent_cache_min_compile_time_secs": (0, 1),
        "jax_persistent_cache_min_entry_size_bytes": (-1, 0),
        "jax_disable_most_optimizations": (True, False),
    }
    for name, (here, _) in options.items():
        jax.config.update(name, here)
    yield
    for name, (_, before) in options.items():
        jax.config.update(name, before)
