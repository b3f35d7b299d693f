"""An artifact, as users get it from a store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from kept.errors import Damaged, InvalidReference, VersionNotFound
from kept.names import LATEST, parse_reference
from kept.store.display.displayed import DisplayedArtifact
from kept.store.log.lookup import records_of, view_of
from kept.store.version import Version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.store.rank.rule import Rule
    from kept.store.store import Store


@dataclass(frozen=True, eq=False)
class Artifact(DisplayedArtifact):
    """A named series of versions.

    `artifact["v3"]`, `artifact["best"]` and `artifact[3]` are versions of it; `artifact[-1]` is the
    newest one. A loop yields its versions from the oldest to the newest, and `len` counts them.
    """

    store: Store
    name: str

    def __repr__(self) -> str:
        return f"<kept.Artifact {self.name}>"

    def _ipython_key_completions_(self) -> list[str]:
        """Return what the Tab key offers for artifact["…"]: aliases, then versions."""
        return [*self.aliases, *(version.version for version in self.versions())]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Artifact) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[str, str]:
        return (self.store.location, self.name)

    def __len__(self) -> int:
        """Return how many versions it has, without the deleted ones."""
        return sum(1 for _ in self.store.newest_first(self.name))

    def __bool__(self) -> bool:
        return True  # an artifact without versions is one, and asking must not read its log

    def __iter__(self) -> Iterator[Version]:
        return iter(self.versions())

    def __contains__(self, wanted: object) -> bool:
        if isinstance(wanted, Version):
            return wanted in self.versions()
        try:
            self[wanted]  # type: ignore[index]  # what is no selector is refused
        except VersionNotFound:
            return False
        return True

    def __getitem__(self, selector: str | int) -> Version:
        """Return the version that v3, an alias, 3 or @DIGEST names; -1 is the newest version.

        Raises VersionNotFound, or InvalidReference for any other selector.
        """
        if isinstance(selector, int) and not isinstance(selector, bool):
            return self._numbered(selector)
        if not isinstance(selector, str) or not selector:
            raise InvalidReference(
                "A version of an artifact is 'v3', an alias, '@' and a digest, or its number. "
                f"Received: {selector!r}"
            )
        text = selector if selector.startswith("@") else f":{selector}"
        parse_reference(self.name + text)
        return self.store.version(self.name + text)

    def _numbered(self, number: int) -> Version:
        """Return the version of a number, or with a negative one, counted from the newest."""
        if number >= 0:
            return self.store.version(f"{self.name}:v{number}")
        newest_first = self.store.newest_first(self.name)
        for place, version in enumerate(newest_first, 1):
            if place == -number:
                return version
        raise VersionNotFound(f"{self.name} has fewer than {-number} versions.")

    if not TYPE_CHECKING:  # a type checker must find what is missing

        def __getattr__(self, name: str) -> NoReturn:
            """Raise AttributeError; for what only a version has, it says how to get one."""
            if name.startswith("__"):  # copy and pickle ask before there is a name
                raise AttributeError(name)
            hint = f"The artifact {self.name} has no {name!r}"
            if hasattr(Version, name) or name in Version.__dataclass_fields__:
                hint += f", its versions do. The newest one is store['{self.name}:{LATEST}']"
            raise AttributeError(hint, name=name, obj=self)

    @property
    def type(self) -> str:
        """The type of its versions, "model" for checkpoints; raises Damaged."""
        found = next(records_of(view_of(self.store.logs, self.name), deleted=True), None)
        if found is None:
            raise Damaged(f"No version of {self.name} can be read. Run kept repair.")
        return found.type

    @property
    def latest(self) -> Version:
        """The newest version; raises VersionNotFound if all were deleted."""
        return self[LATEST]

    def versions(self) -> list[Version]:
        """The versions that are not deleted, oldest first."""
        return self.store.versions(self.name)

    def best(self, monitor: str | None = None, mode: str | None = None) -> Version:
        """Return the best version by a metric, whenever it was measured.

        A value that was logged later counts before one of the save; NaN never counts. mode is
        "min" or "max"; without it, earlier versions or the metric's name say which. Without
        monitor it is the version by the rule of set_best, or else that with the alias best.

        Raises VersionNotFound if no version has the metric, or InvalidInput.
        """
        from kept.store.rank.choose import best_record

        view = view_of(self.store.logs, self.name)
        return Version(self.store, self.name, best_record(view, monitor, mode))

    def set_best(self, monitor: str | None, mode: str | None = None) -> Version | None:
        """Let a metric decide the alias best from now on; return the version that has it now.

        Every later version and every later log_metrics moves the alias if that changes the best
        version, whatever callbacks monitor. None as monitor ends that: callbacks decide again, and
        the alias stays where it is. Returns None if no version has the metric so far.

        Raises InvalidInput or ArtifactNotFound.
        """
        from kept.store.rank.choose import set_rule

        log = view_of(self.store.logs, self.name).log
        record = set_rule(log, monitor, mode)
        return None if record is None else self.store.logged(self.name, record.index)

    @property
    def best_rule(self) -> Rule | None:
        """What set_best has set, with monitor and mode; None if callbacks decide."""
        from kept.store.rank.rule import rule_of

        return rule_of(view_of(self.store.logs, self.name))

    @property
    def aliases(self) -> dict[str, Version]:
        """Every alias and the version it names, "latest" included."""
        return {alias: version for version in self.versions() for alias in version.aliases}
