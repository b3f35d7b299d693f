"""What pyproject.toml has no lasting words for: the one module in C, and the tag of its wheel."""

from setuptools import Extension, setup

_PYTHON = "0x030B0000"  # 3.11, the first with buffers in the stable ABI: one wheel for all later

setup(
    ext_modules=[
        Extension(
            "kept.training.snapshot._streaming",
            ["src/kept/training/snapshot/_streaming.c"],
            define_macros=[("Py_LIMITED_API", _PYTHON)],
            py_limited_api=True,
            optional=True,  # without a compiler kept works the same; its snapshots take longer
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
