"""The parts of the build that pyproject.toml cannot express: the C module and the wheel's tag."""

from setuptools import Extension, setup

# Python 3.11 is the first version with buffers in the stable ABI. One wheel fits all later ones.
_PYTHON = "0x030B0000"

setup(
    ext_modules=[
        Extension(
            "kept.training.snapshot._streaming",
            ["src/kept/training/snapshot/_streaming.c"],
            define_macros=[("Py_LIMITED_API", _PYTHON)],
            py_limited_api=True,
            optional=True,  # without a C compiler kept works the same, but snapshots take longer
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
