"""Lets each system call of a command that touches the store fail, or kills the process before it.

As syscalls.py does, but in the kernel's interface, with strace: so also with EINTR, and in code
that is not Python's. `python -m tests.reliability.strace` runs everything.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.reliability import subjects
from tests.reliability.cases import in_memory, run
from tests.reliability.commands import HANG, TRACEBACK, Answer
from tests.reliability.syscalls import COMMANDS, KILLED, Case, Judge, Run, prepared
from tests.reliability.table import Tally, chosen, report

if TYPE_CHECKING:
    from tests.reliability.subjects import Subject

TOUCHING = "%file,%desc"
SYSCALLS = re.compile(r"(?:\d+ +)?(\w+)\(")
ANY = ("EIO", "EINTR", "KILL")
OF_WRITES = ("ENOSPC", "EDQUOT", "EROFS")
WRITES = {
    "write", "writev", "pwrite64", "pwritev", "openat", "open", "link", "linkat", "rename",
    "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat", "fsync", "fdatasync",
    "ftruncate", "symlink", "fallocate", "copy_file_range", "sendfile",
}  # fmt: skip
# Their errors cannot happen, or the caller can do nothing about them.
HARMLESS = {"lseek", "mmap", "fcntl", "epoll_wait", "ioctl", "poll", "execve", "getcwd", "chdir"}
# One thread, so that a call has the same number in each run.
CODE = """
import sys
import kept.parallel as parallel
def one_by_one(work, items, threads):
    for item in items:
        work(item)
parallel.in_threads = one_by_one
parallel.mapped = lambda work, items, at_once: map(work, items)
from kept.cli.main import main
main()
"""


def traced(case: Case, *options: str, out: str = "trace") -> subprocess.CompletedProcess[str]:
    """Run the command under strace."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KEPT")}
    # The same calls in each run.
    fixed = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "KEPT_STORE": "store"}
    return subprocess.run(
        ["strace", "-f", "-y", "--seccomp-bpf", "-o", out, *options, sys.executable, "-c", CODE,
         *COMMANDS[case.command]],
        env=environment | fixed, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def touches(line: str) -> bool:
    """Return whether a line of a trace concerns the store, the copy or the target of get."""
    here = re.escape(os.getcwd())
    return re.search(rf'(?:"|<)(?:{here}/)?(?:store|copy|got|mirror)(?=[/">])', line) is not None


def listed(subject: Subject, name: str, _: str) -> list[tuple[str, int]]:
    """Return the system calls of a command that touch the folders, each with its number."""
    prepared(subject, name)
    done = traced(Case(name, 0, ""), "-e", f"trace={TOUCHING}")
    assert done.returncode == 0, done
    numbers: Counter[str] = Counter()
    found = []
    for line in Path("trace").read_text(errors="replace").splitlines():
        call = SYSCALLS.match(line)
        if not call:
            continue
        numbers[call[1]] += 1
        if call[1] not in HARMLESS and touches(line):
            found.append((call[1], numbers[call[1]]))
    return found


def judged(subject: Subject, case: tuple[str, str, int, str], _: str) -> dict[str, Any] | None:
    """Inject one fault; None if another call than expected was hit."""
    name, syscall, number, fault = case
    prepared(subject, name)
    how = "signal=KILL" if fault == "KILL" else f"error={fault}"
    done = traced(
        Case(name, number, fault),
        "-e",
        f"trace={syscall}",
        "-e",
        f"inject={syscall}:{how}:when={number}",
    )
    lines = Path("trace").read_text(errors="replace").splitlines()
    if fault == "KILL":
        hit = next((line for line in reversed(lines) if SYSCALLS.match(line)), "")
    else:
        hit = next((line for line in lines if "(INJECTED)" in line), "")
    if not touches(hit):
        return None
    code = done.returncode
    if "Traceback (most recent call last)" in done.stderr:
        code = TRACEBACK
    elif code in (-9, 137):
        code = KILLED
    elif code < 0:
        code = HANG
    answer = Answer(code, done.stdout, done.stderr)
    return Judge(subject, Case(name, number, fault), "strace").judge(Run(answer, hit.strip(), 0))


def main(options: list[str]) -> Tally:
    subjects.prepare()
    total = Tally("strace", is_shown=True)
    with tempfile.TemporaryDirectory(prefix="kept-subjects-", dir=in_memory()) as folder:
        subject = subjects.own(Path(folder, "own"))
        every: list[tuple[str, str, int, str]] = []
        for ended in run(functools.partial(listed, subject), COMMANDS):
            assert ended.result, ended
            for syscall, number in ended.result:
                faults = (*ANY, *(OF_WRITES if syscall in WRITES else ()))
                every += [(ended.case, syscall, number, fault) for fault in faults]
        every = chosen(sorted(every), options, 20)
        ended = run(functools.partial(judged, subject), every)
        hit = [each for each in ended if each.error or each.result is not None]
        total.take(hit)
    missed = len(every) - len(hit)
    print(
        f"{missed} of {len(every)} faults hit another call than in the first run, and do not count"
    )
    return total


if __name__ == "__main__":
    sys.exit(report(main(sys.argv[1:]), sys.argv[1:]))
