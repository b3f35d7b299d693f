"""The shape of the source: small files, short functions, few exceptions to the linter."""

import pytest

from tests.source_tree import Shape

# training/ holds its packages and these, which all of them share.
SHARED = {"monitor", "naming", "options", "request", "verify_resume"}


@pytest.fixture(scope="module")
def shape():
    found = Shape()
    print(found)
    return found


def test_files_are_small(shape):
    assert {name: count for name, count in shape.lines.items() if count > 300} == {}


def test_functions_are_short(shape):
    assert {name: count for name, count in shape.functions.items() if count > 40} == {}


def test_packages_are_small(shape):
    large = {name: count for name, count in shape.modules_in.items() if count > 12}
    assert large.keys() <= {"cli"}, "the command has a module for each verb, others have 12"


def test_training_holds_packages(shape):
    files = {name.removeprefix("training/") for name in shape.lines if name.startswith("training/")}
    beside = {name.removesuffix(".py") for name in files if "/" not in name} - {"__init__"}
    assert beside == SHARED


def test_functions_are_seldom_handed_down(shape):
    assert len(shape.callables) <= 15, "\n".join(shape.callables)


def test_the_linter_is_seldom_silenced(shape):
    assert shape.noqa_rate <= 3.0
