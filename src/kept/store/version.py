"""A version, as users get it from a store."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kept.store.describe.described import Described
from kept.store.diff.comparable import Comparable
from kept.store.display.displayed import DisplayedVersion
from kept.store.encoding import copied

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import keras

    from kept.bucket.transfer import Progress
    from kept.store.commit import Committed
    from kept.store.content.manifest import File, Manifest
    from kept.store.log.history import VersionRecord
    from kept.store.origin.lineage import Lineage
    from kept.store.origin.links import Link, Source
    from kept.store.scrub.report import Report
    from kept.store.signing.keys import KeyFile, Keys
    from kept.store.signing.statement import Signature
    from kept.store.store import Store


@dataclass(frozen=True, eq=False)
class Version(Described, Comparable, DisplayedVersion):
    """One immutable commit of an artifact, as the log states it when you look it up.

    log_artifact also sets what its commit did: is_new is False if the newest version had the same
    content already; bytes_new is how many bytes the store did not have before. Both are None for a
    version that was looked up. withheld has the protected aliases that a run asked for: the
    checkpoint is committed without them.
    """

    store: Store
    name: str
    record: VersionRecord
    # Not in the constructor, because a list makes thousands of versions.
    is_new: bool | None = field(default=None, init=False)
    bytes_new: int | None = field(default=None, init=False)
    withheld: tuple[str, ...] = field(default=(), init=False)

    def __repr__(self) -> str:
        aliases = f" {', '.join(self.aliases)}" if self.aliases else ""
        return f"<kept.Version {self.reference}{aliases}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[str, str, int]:
        return (self.store.location, self.name, self.index)

    @property
    def index(self) -> int:
        """The number in the version: 3 for v3."""
        return self.record.index

    @property
    def version(self) -> str:
        """The version without the artifact's name: "v3"."""
        return f"v{self.record.index}"

    @property
    def reference(self) -> str:
        """The text that always names this version: "name:v3"."""
        return f"{self.name}:{self.version}"

    @property
    def type(self) -> str:
        """The artifact's type, "model" for checkpoints."""
        return self.record.type

    @property
    def aliases(self) -> tuple[str, ...]:
        """The aliases on this version; "latest" comes first if it is the newest."""
        return self.record.aliases

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The metadata of the version, with what update has set since; plain JSON values."""
        return dict(copied(self.record.described))

    @property
    def size(self) -> int:
        """Bytes of all files of the version together."""
        return self.record.size

    @property
    def digest(self) -> str:
        """The content digest, 64 hex digits: the same content has the same digest."""
        return self.record.digest

    @property
    def created_at(self) -> datetime:
        """When it was committed, in UTC."""
        return datetime.fromisoformat(self.record.created_at)

    @cached_property
    def manifest(self) -> Manifest:
        """The files and their chunks; raises Damaged."""
        return self.store.read_manifest(self)

    @property
    def files(self) -> tuple[File, ...]:
        """The files, each with path, size and chunks; raises Damaged."""
        return self.manifest.files

    @property
    def provenance(self) -> dict[str, Any]:
        """Where it comes from: git, command, packages, host and more; see docs/provenance.md.

        It is empty if it was not captured, or if the record that holds it was lost.
        """
        from kept.store.origin.origin import known_provenance, provenance_of

        known = known_provenance(self.record)
        if known is None:
            known = provenance_of(self.store.log(self.name).view(), self.record)
        return dict(copied(known))

    @property
    def parent(self) -> Link | None:
        """The version from which its run continued, None for a run that did not resume."""
        from kept.store.origin.origin import parent_of

        return parent_of(self.record)

    @property
    def uses(self) -> tuple[Link | Source, ...]:
        """What it was made from, as uses= named it: versions, and sources outside of stores."""
        from kept.store.origin.origin import uses_of

        return uses_of(self.record)

    def lineage(self, *, up: bool = True, down: bool = True) -> Lineage:
        """Return what it was made from, and what was made from it, through all artifacts.

        Other stores are opened to find what their versions were made from; what was made from
        this version is found in its own store only.
        """
        from kept.store.origin.lineage import lineage_of

        return lineage_of(self.store.logs, self.name, self.record, up=up, down=down)

    def download(self, root: str | os.PathLike[str], *, progress: Progress | None = None) -> Path:
        """Write the files below root, every byte checked; return root.

        Files of the same names are replaced, each as a whole. progress is called with the bytes
        done and in all. Raises Damaged or InvalidPath, and then leaves root unchanged.
        """
        from pathlib import Path

        return self.store.download(self, Path(root), progress)

    def load_model(self, **keras_options: Any) -> keras.Model:
        """Load the whole model that the version holds.

        The options are those of keras.saving.load_model. With safe_mode, which is True by default,
        no code of the version runs: a model with Python code, an .h5 model of Keras 2 and a
        SavedModel are refused. safe_mode=False is for stores whose writers you all trust. Raises
        InvalidInput if the version does not hold exactly one whole model, or if it is refused, and
        Damaged.
        """
        from kept.store.loading.load_model import load_model

        return load_model(self, keras_options)

    def load_weights(self, model: keras.Model) -> None:
        """Load the weights that the version holds into a model of the same architecture.

        It runs no code of the version. Raises InvalidInput if the version does not hold exactly one
        file of weights or one whole model, or if the file links to others, and Damaged.
        """
        from kept.store.loading.load_model import load_weights

        load_weights(self, model)

    def sign(
        self,
        private_key: KeyFile,
        *,
        password: str | None = None,
        progress: Progress | None = None,
    ) -> Signature:
        """Sign the version with a private key: a PEM file of an elliptic key, such as P-256.

        Every byte is read and checked first. The signature lies in the store. It covers the name,
        number, content, type and metadata, and not the aliases. A version can have several.

        Raises Damaged, OSError, or InvalidInput if the key cannot be used.
        """
        from kept.store.signing.signatures import sign

        return sign(self.store.log(self.name), self.record, private_key, password, progress)

    def check_signed(self, keys: Keys) -> Signature:
        """Return a valid signature by one of these public keys: a PEM file, or several.

        Raises NotSigned, or InvalidInput if a key cannot be used. The content is not read: verify
        and download check it against what the signature covers.
        """
        from kept.store.signing.keys import public_keys
        from kept.store.signing.signatures import check_signed

        return check_signed(self.store.log(self.name), self.record, public_keys(keys))

    def log_metrics(
        self,
        metrics: Mapping[str, Any],
        *,
        dataset: str | None = None,
        evaluation: str | None = None,
    ) -> Version:
        """Log metrics that were measured after the save; return the version with them.

        metrics maps names to numbers, also those of NumPy and of frameworks. dataset names the data
        that they are about, and evaluation the measurement. Earlier values stay in the history, and
        the newest one counts. If the artifact has a rule for best (Artifact.set_best), the alias
        moves in the same record.

        Raises InvalidMetadata, which names the metric, InvalidInput or VersionNotFound.
        """
        from kept.store.describe.log_metrics import log_metrics, metrics_event

        event = metrics_event(metrics, dataset, evaluation)
        record = log_metrics(self.store.log(self.name), self.index, event)
        return self if record is None else as_of(self, record)

    def update(
        self,
        *,
        description: str | None = None,
        tags: Iterable[str] = (),
        remove_tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        note: str | None = None,
    ) -> Version:
        """Change what is said of the version; return it with the changes.

        tags are added. metadata is merged, key by key, into the metadata of the commit, which stay
        in the log. description replaces the one before; an empty one removes it. Notes add up. The
        history keeps every change, with its time and author.

        Raises InvalidInput, InvalidMetadata or VersionNotFound.
        """
        from kept.store.describe.update import Update, update

        changes = Update.of(description, tags, remove_tags, metadata, note)
        return as_of(self, update(self.store.log(self.name), self.index, changes))

    def verify(self) -> Report:
        """Re-read and re-hash the version; return a report, or raise Damaged.

        Raises RemoteError if the server does not answer, or refuses to send a part of it.
        """
        report = self.store.verify(self.reference)
        report.raise_if_damaged()
        return report


def as_of(version: Version, record: VersionRecord) -> Version:
    """Return a version as another record of it states it; what its commit did stays."""
    found = Version(version.store, version.name, record)
    vars(found).update(is_new=version.is_new, bytes_new=version.bytes_new)
    return found


def after_commit(version: Version, committed: Committed) -> Version:
    """Return the version with what its commit did."""
    vars(version).update(
        is_new=committed.is_new,
        bytes_new=committed.bytes_new,
        withheld=committed.withheld,
        _written=committed.written,
    )
    return version


def take_written(version: Version) -> frozenset[str]:
    """Return the blobs that the commit of a version wrote, and forget them, to free memory.

    Returns none for a version that was looked up.
    """
    written: frozenset[str] = vars(version).pop("_written", frozenset())
    return written
