"""All ranks resume from one version, or none does; each rank is a thread here."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from kept.errors import CannotResume, Damaged, RankMissing
from kept.store.open import open_store
from kept.training.group.agreement import Agreement
from kept.training.resume import load_version
from tests.training.group.threads import groups

pytestmark = pytest.mark.any_framework


@pytest.fixture
def store(tmp_path):
    """A store with two versions of m."""
    made = open_store(tmp_path / "store")
    for text in ("first", "second"):
        (tmp_path / "m.keras").write_text(text)
        made.log_artifact("m", [tmp_path / "m.keras"])
    return made


def on_all(found, call):
    """Call on all ranks, each in its thread; return what each returned or raised."""

    def tried(group):
        try:
            return call(group)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            return error

    with ThreadPoolExecutor(len(found)) as pool:
        return list(pool.map(tried, found))


def find(store_of, reference):
    def call(group):
        with_folder = load_version.find(store_of[group.rank], reference, Agreement(group))
        return None if with_folder is None else with_folder.version.reference

    return call


@pytest.mark.parametrize(
    ("reference", "expected"), [("m", "m:v1"), ("m:v0", "m:v0"), ("other", None)]
)
def test_all_ranks_open_the_version_of_the_first(store, reference, expected):
    assert on_all(groups(3), find([store] * 3, reference)) == [expected] * 3


def test_a_version_that_only_the_first_rank_has(store, tmp_path):
    other = open_store(tmp_path / "other")
    found = on_all(groups(3), find([store, store, other], "m"))
    assert all(type(error) is CannotResume for error in found)
    assert len({str(error) for error in found}) == 1
    assert "1 of 3 processes could not read m:v1. rank 2: ArtifactNotFound" in str(found[0])


def test_another_version_of_the_same_name(store, tmp_path):
    other = open_store(tmp_path / "other")
    (tmp_path / "m.keras").write_text("another")
    for _ in range(2):
        (tmp_path / "m.keras").write_text(f"another {_}")
        other.log_artifact("m", [tmp_path / "m.keras"])
    found = on_all(groups(2), find([store, other], "m"))
    assert all("rank 1: CannotResume: m:v1 in" in str(error) for error in found)


def test_the_first_rank_does_not_find_it(store):
    found = on_all(groups(2), find([store] * 2, "m:v7"))
    assert [type(error) for error in found] == [CannotResume] * 2
    assert "rank 0: VersionNotFound" in str(found[1])


class TestDamage:
    """A version that one rank cannot read whole."""

    @pytest.fixture
    def damaged(self, store, monkeypatch):
        def read(version, agreed, *, in_ranges):
            assert not in_ranges
            if agreed.rank == 1 and version.index == 1:
                raise Damaged("a blob is gone")
            return load_version.Found(version, None, None, None)

        monkeypatch.setattr(load_version, "_open", read)
        return store

    def test_all_take_the_one_before(self, damaged, capsys):
        assert on_all(groups(2), find([damaged] * 2, "m")) == ["m:v0"] * 2
        assert "rank 1: Damaged: a blob is gone" in capsys.readouterr().out

    def test_a_named_one_is_an_error_on_all(self, damaged):
        found = on_all(groups(2), find([damaged] * 2, "m:v1"))
        assert [type(error) for error in found] == [Damaged] * 2


def test_a_rank_that_does_not_answer_is_named(store):
    group = groups(2, seconds=0.05)[0]
    with pytest.raises(RankMissing, match="rank 1 of 2"):
        find([store], "m")(group)


def test_an_error_of_the_step_goes_to_all():
    def call(group):
        with Agreement(group).step("load it"):
            if group.rank:
                raise ZeroDivisionError("by zero")
        return "done"

    found = on_all(groups(3), call)
    assert all("2 of 3 processes could not load it" in str(error) for error in found)
    assert isinstance(found[1].__cause__, ZeroDivisionError)


def test_a_process_that_is_alone_raises_the_error_as_it_is():
    with pytest.raises(ZeroDivisionError), Agreement().step("load it"):
        raise ZeroDivisionError


def test_agreements_with_a_key_do_not_depend_on_those_before():
    def call(group):
        if group.rank:
            Agreement(group)  # for which this rank alone had a reason
        return Agreement(group, "5/resume").choice(group.rank, "the choice")

    assert on_all(groups(2, seconds=5.0), call) == [0, 0]
