"""Has a store in object storage lie, hang, forget and be shared, and counts what becomes of it.

`python -m tests.reliability.remote` runs all parts; a word such as `kills` names one of them, and
further words select cases of `faults`: `remote faults "put: LIST html"`. --given takes the server
of the environment (AWS_ENDPOINT_URL) instead of moto; --short and --some=N are as in other suites.
"""

from __future__ import annotations

import functools
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.reliability import cases, remote_faults, subjects
from tests.reliability.cases import in_memory, run
from tests.reliability.remote_operations import OPERATIONS
from tests.reliability.remote_store import Server, Template
from tests.reliability.table import Tally, chosen, report

if TYPE_CHECKING:
    from collections.abc import Callable

SHORT = 40  # cases
AT_ONCE = 4  # cases wait for the proxy more than for a processor


def faults(template: Template, options: list[str], total: Tally) -> None:
    """Run operation x class of request x fault, once and always."""
    profiles: dict[str, dict[str, int]] = {}
    words = [option for option in options if not option.startswith("--")]
    names = [name for name in OPERATIONS if not words or words[0].startswith(f"{name}:")]
    for ended in run(functools.partial(remote_faults.profile, template), names or OPERATIONS):
        if ended.error:
            total.add("tracebacks", f"{ended.case}: {ended.error}")
        else:
            profiles[ended.case] = ended.result
    every = sorted(remote_faults.cases(profiles))
    every = chosen(every, options, SHORT)
    judged = functools.partial(remote_faults.judged, template)
    total.take(run(judged, every, jobs=AT_ONCE))


PARTS: dict[str, Callable[[Template, list[str], Tally], None]] = {"faults": faults}


def main(options: list[str]) -> Tally:
    subjects.prepare()
    cases.LIMIT = 150.0
    total = Tally("remote", is_shown=True)
    parts = [option for option in options if option in PARTS] or list(PARTS)
    options = [option for option in options if option not in PARTS]
    with (
        Server(is_given="--given" in options),
        tempfile.TemporaryDirectory(prefix="kept-remote-", dir=in_memory()) as folder,
    ):
        template = Template(Path(folder))
        for part in parts:
            PARTS[part](template, options, total)
    return total


if __name__ == "__main__":
    sys.exit(report(main(sys.argv[1:]), sys.argv[1:]))
