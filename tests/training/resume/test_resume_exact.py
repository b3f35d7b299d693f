"""Killed and resumed three times, a run ends as one that was never interrupted: to the last bit."""

import itertools
import json
import random
import signal
from pathlib import Path

import pytest

from tests.training.save.forks import Forks

SCRIPT = Path(__file__).with_name("resume_training.py")
BATCHES = 60  # fewer than the two trainings have


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Runs the script in a folder, in a process that had another start every other time.

    So a resumed run orders sets and dicts by other hashes.
    """
    forks = [Forks(SCRIPT, tmp_path_factory.mktemp("forks")) for _ in range(2)]
    following = itertools.cycle(forks)

    def run(folder, *batches):
        folder.mkdir(exist_ok=True)
        return next(following).run(folder, *batches)

    yield run
    for one in forks:
        one.end()


def outcome(done):
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def straight(train, tmp_path_factory):
    return outcome(train(tmp_path_factory.mktemp("straight")))


def test_killed_and_resumed_is_the_same_run(train, straight, tmp_path):
    # Passing over batches counts as well, so a later kill has at least those to survive.
    kills = [random.randint(4, BATCHES - 16), random.randint(4, 8), random.randint(4, 8)]
    said = []
    for batches in kills:
        done = train(tmp_path / "run", batches)
        assert done.returncode == -signal.SIGKILL, (kills, done.stdout, done.stderr[-3000:])
        said += done.stdout.splitlines()
    last = train(tmp_path / "run")
    # If the kills came late, the first training is done and the second may have saved nothing yet.
    assert "continuing from" in last.stdout or "nothing is left" in last.stdout, (kills, said)
    resumed = outcome(last)
    for name, part in straight.items():
        for what in part:
            assert resumed[name][what] == part[what], (kills, name, what, said)


def test_the_straight_run_is_worth_comparing_with(straight):
    middle, end = straight["middle"], straight["end"]
    assert middle["epochs"] == list(range(6))
    found = middle["history"]["learning_rate"]
    rates = [now / before for before, now in itertools.pairwise(found)]
    assert min(rates) < 0.2, "ReduceLROnPlateau did nothing"
    assert max(rates) < 0.95, "LearningRateScheduler did nothing"
    assert 2 <= len(end["epochs"]) < 6, "EarlyStopping did nothing"
    assert end["stopping"][0] == end["epochs"][-1]
    assert middle["csv"].count("\n") == 7
