"""Finds epochs and metrics in the names of files, by the pattern of the run or by guessing.

docs/exchange.md describes the rules of guessing for users.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kept.errors import InvalidInput
from kept.store.rank.mode import mode_of

if TYPE_CHECKING:
    from collections.abc import Iterable

# Without its sign, which is mostly a separator. 05 is whole: of "05.0.31" the value is 0.31.
_PLAIN = r"0\d+(?!\d)|\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
_NUMBER = re.compile(
    rf"(?:(?<=[-_=])-)?(?:{_PLAIN})|(?<![A-Za-z])(?:nan|inf)(?![A-Za-z])", re.IGNORECASE
)
_SIGNED = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|nan|inf)"
# The seconds of a time follow the same separator as the minutes: in 1200_03 the 03 is no second.
_DATE = re.compile(
    r"(?:19|20)\d\d([-_.]?)[01]\d\1[0-3]\d"
    r"(?:[-_T. ]?[0-2]\d(?:h[0-5]\dm?(?:[0-5]\d)?|([-_.:]?)[0-5]\d(?:\2[0-5]\d)?))?(?!\d)"
)
_EPOCH = {"epoch", "epochs", "ep", "e"}
_STEP = {"step", "steps", "batch", "iter", "iters", "iteration", "it"}
_LEADING = {  # words that begin the name of a metric
    "val", "valid", "validation", "train", "test", "dev", "eval", "mean", "squared", "absolute",
    "root", "binary", "sparse", "categorical", "top", "k", "balanced", "macro", "micro",
    "weighted", "cosine", "f1",
}  # fmt: skip
# Words that end one, beside those of mode_of.
_TRAILING = {"score", "similarity", "lr", "coef", "coefficient"}
# Words whose number says which model it is, not when it was saved.
_OTHER = {
    "fold", "kfold", "cv", "split", "seed", "run", "trial", "exp", "experiment", "stage", "phase",
    "version", "ver", "v", "size", "bs", "gpu", "rank", "class", "label", "part",
}  # fmt: skip
_LARGEST = 10**9  # of an epoch or step
_IGNORED = ""  # the role of a number after a word of _OTHER


@dataclass
class Named:
    """What the name of a file says."""

    epoch: int | None = None  # as the name counts
    step: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    unnamed: list[float] = field(default_factory=list)  # decimals without a name
    candidates: list[int] = field(default_factory=list)  # whole numbers, perhaps the epoch
    in_words: list[int] = field(default_factory=list)  # the same, as in model07 and vgg16


class Pattern:
    """The filepath of a run, such as weights.{epoch:02d}-{val_loss:.2f}.keras."""

    def __init__(self, pattern: str) -> None:
        """Take the text; raises InvalidInput if it is no pattern, or names no epoch or metric."""
        self.text = pattern
        try:
            parts = list(string.Formatter().parse(pattern))
        except ValueError as error:
            raise _bad(pattern, str(error)) from None
        self._fields: list[str] = []
        regex = ""
        for literal, name, _, _ in parts:
            regex += re.escape(literal)
            if name is None:
                continue
            if not name or not re.fullmatch(r"[^{}\[\].!:]+", name):
                raise _bad(pattern, f"{{{name}}} is no name of a metric")
            regex += self._group(name)
        if not self._fields:
            raise _bad(pattern, "it has no {epoch} and no metric")
        self._regex = re.compile(regex)

    def _group(self, name: str) -> str:
        if name in self._fields:
            return f"(?P=g{self._fields.index(name)})"
        self._fields.append(name)
        number = r"\d+" if name in ("epoch", "batch", "step") else _SIGNED
        return rf" *(?P<g{len(self._fields) - 1}>{number})"

    @property
    def depth(self) -> int:
        """How many folders the pattern names."""
        return self.text.count("/")

    def read(self, path: str) -> Named | None:
        """Return what a path says, None for one that the run has not written."""
        match = self._regex.fullmatch(path)
        if match is None:
            return None
        named = Named()
        for name, text in zip(self._fields, match.groups(), strict=True):
            if name == "epoch":
                named.epoch = int(text)
            elif name in ("batch", "step"):
                named.step = int(text)
            else:
                named.metrics[name] = float(text)
        return named


def guess(stems: Iterable[str]) -> dict[str, Named]:
    """Return what names without their endings say; names of the same form are read alike."""
    forms: dict[str, list[tuple[str, Named]]] = {}
    found = {}
    for stem in stems:
        plain = _DATE.sub("x", stem)
        named = found[stem] = _read(plain)
        forms.setdefault(_NUMBER.sub("#", plain), []).append((stem, named))
    for alike in forms.values():
        _choose_epochs([named for _, named in alike])
    return found


def _choose_epochs(alike: list[Named]) -> None:
    """Take a whole number without a name as the epoch: the first that is not the same in all.

    One in a word is taken only if it is not the same in all, and if no other number can be it.
    """
    if any(named.epoch is not None for named in alike):
        return
    columns = list(zip(*(named.candidates for named in alike), strict=False))
    in_words = [] if columns else list(zip(*(named.in_words for named in alike), strict=False))
    varying = [column for column in columns or in_words if len(set(column)) > 1]
    if not columns and not varying:
        return
    for named, epoch in zip(alike, (varying or columns)[0], strict=True):
        if named.step is None or varying:
            named.epoch = epoch


def _read(stem: str) -> Named:
    named, start = Named(), 0
    for match in _NUMBER.finditer(stem):
        gap, text = stem[start : match.start()], match[0].lower()
        is_glued = gap[-1:].isalpha()
        before = gap.rstrip("-_=. ")
        word = re.split(r"[-=. ]", before)[-1].lstrip("_")
        role = _role(before)
        if role == _IGNORED:
            start = match.end()
            continue
        if is_glued and role is None and not gap.endswith("="):
            if text.isdigit() and int(text) < _LARGEST:
                named.in_words.append(int(text))
            continue  # part of a word, as in vgg16
        if role is None and gap.endswith("=") and word:
            role = word
        _note(named, role, text)
        start = match.end()
    return named


def _note(named: Named, role: str | None, text: str) -> None:
    """Note a number in its role: epoch, step, the name of a metric, or None."""
    is_whole = text.isdigit() and int(text) < _LARGEST
    if role in ("epoch", "step"):
        if is_whole and getattr(named, role) is None:
            setattr(named, role, int(text))
    elif role is not None:
        named.metrics.setdefault(role, float(text))
    elif is_whole:
        named.candidates.append(int(text))
    else:
        named.unnamed.append(float(text))


def _role(words: str) -> str | None:
    """Return epoch, step, or the name of a metric at the end of the words before a number.

    Return "" for words whose number is to be ignored, and None for other words.
    """
    parts = re.split(r"[-_=. ]+", words)
    last = parts[-1].lower()
    if last in _OTHER:
        return _IGNORED
    if last in _EPOCH:
        return "epoch"
    if last in _STEP:
        return "step"
    if mode_of(last) is None and last not in _TRAILING:
        return None
    begin = len(parts) - 1
    while begin and _leads(parts[begin - 1].lower()):
        begin -= 1
    return "_".join(parts[begin:])


def _leads(part: str) -> bool:
    return part in _LEADING or part.startswith("top") or mode_of(part) is not None


def first_epoch(epochs: Iterable[int | None], given: int | None) -> int:
    """Return the number of the first epoch in names: the given one, 0 if a name has it, else 1."""
    if given is not None:
        return given
    return 0 if 0 in epochs else 1


def name_values(named: Named, monitor: str | None) -> None:
    """Give the only decimal without a name the name of the monitored metric."""
    if monitor and len(named.unnamed) == 1 and monitor not in named.metrics:
        named.metrics[monitor] = named.unnamed.pop()


def _bad(pattern: str, why: str) -> InvalidInput:
    return InvalidInput(
        f"The pattern cannot be used: {why}. It is the filepath of the run, such as "
        f"'weights.{{epoch:02d}}-{{val_loss:.2f}}.keras'. Received: {pattern!r}"
    )
