"""All errors that kept raises on purpose.

    KeptError
    ├── InvalidInput (ValueError)      an argument is not valid
    │   ├── InvalidName                artifact name or alias
    │   ├── InvalidReference           text that names no version
    │   ├── InvalidPath                path inside a version, or a file to store
    │   ├── InvalidMetadata            metadata or metrics that JSON cannot hold
    │   ├── InvalidCondition           a condition that cannot be parsed
    │   ├── InvalidCheckpoint          arguments of a checkpoint callback
    │   └── NoActiveRun                no run of W&B is active
    ├── NotFound (LookupError)
    │   ├── ArtifactNotFound
    │   ├── VersionNotFound
    │   │   └── VersionGone            it was deleted, and gc has removed its content
    │   └── KeyNotFound                no such key in a bucket
    ├── KeyExists                      put_if_absent found an existing key
    ├── StoreError                     the location cannot be used as a store
    │   ├── NotAStore
    │   ├── NewerFormat
    │   ├── BeingCollected             a gc is about to delete needed bytes
    │   ├── StoreReplaced              it was emptied, replaced or restored since it was opened
    │   └── RemoteError                a request to object storage failed
    │       ├── BucketNotFound         no such bucket or container
    │       ├── AccessDenied           credentials are missing, wrong, expired or not enough
    │       ├── Unreachable            no answer, or the server asks to retry later
    │       └── UnsafeServer           it would let one writer overwrite another's commit
    ├── NotDurable (OSError)           a stored value may not outlive a power cut
    ├── Damaged                        stored bytes are not the written ones
    │   └── Unreadable                 the operating system cannot read a file of the store
    ├── NotSigned                      no valid signature by a required key
    ├── Diverged                       two stores hold different versions under one number
    ├── VersionInUse                   the version has aliases, so it is not deleted
    ├── AliasProtected                 the alias is moved by a promotion only
    ├── ConditionNotMet                the version stays unpromoted
    ├── CommandFailed                  the command of an evaluation failed
    ├── ImportFailed                   a checkpoint of another program could not be fetched
    ├── ExportFailed                   Keras could not load or export a model
    ├── UploadFailed                   W&B did not confirm a checkpoint, which stays in the outbox
    │   ├── Refused                    retrying will not help; later ones are sent
    │   └── RunEnded                   the run has ended, so it takes no more
    ├── SaveFailed (RuntimeError)      a checkpoint could not be written or committed
    ├── GroupError (RuntimeError)      the processes of one run do not agree
    │   └── RankMissing (TimeoutError) one of them did not answer in time
    └── CannotResume                   a version does not fit the model, optimizer or run

Messages state the value received and how to correct it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class KeptError(Exception):
    """Base of every error that kept raises on purpose."""


class InvalidInput(KeptError, ValueError):
    """An argument is not valid."""


class InvalidName(InvalidInput):
    """An artifact name or an alias that is not allowed."""


class InvalidReference(InvalidInput):
    """A text that names no version."""


class InvalidPath(InvalidInput):
    """A path that is not valid in a version, or a file that cannot be stored."""


class InvalidMetadata(InvalidInput):
    """Metadata that JSON cannot hold."""


class InvalidCondition(InvalidInput):
    """A condition cannot be parsed; the message says where."""


class InvalidCheckpoint(InvalidInput):
    """Arguments of a checkpoint callback that cannot work."""


class NoActiveRun(InvalidInput):
    """No run of W&B is active."""


class NotFound(KeptError, LookupError):
    """The requested artifact, version or key is missing."""


class ArtifactNotFound(NotFound):
    """The store has no artifact of that name."""


class VersionNotFound(NotFound):
    """The artifact has no such version or alias."""


class VersionGone(VersionNotFound):
    """The version was deleted, and gc has deleted its content, or is about to."""


class KeyNotFound(NotFound):
    """The bucket has no such key."""


class KeyExists(KeptError):
    """The bucket has that key already."""


class StoreError(KeptError):
    """The location cannot be used as a store."""


class NotAStore(StoreError):
    """The folder holds something else."""


class NewerFormat(StoreError):
    """The store was written by a newer kept."""


class BeingCollected(StoreError):
    """A gc is about to delete needed bytes; try again when the gc has ended."""


class StoreReplaced(StoreError):
    """The location was emptied, or holds other records than this process has read there.

    Another store took its place, or it was restored from an older copy. Nothing is written.
    """


class RemoteError(StoreError):
    """A request to object storage failed; the message names the cause."""


class BucketNotFound(RemoteError):
    """The bucket or container does not exist."""


class AccessDenied(RemoteError):
    """The credentials are missing, wrong, expired, or do not allow it."""


class Unreachable(RemoteError):
    """After all retries the server still does not answer, or asks to retry later."""


class UnsafeServer(RemoteError):
    """The server ignores If-None-Match, so two writers could overwrite each other's commits."""


class Damaged(KeptError):
    """Stored bytes are not the written ones."""


class NotSigned(KeptError):
    """The version has no valid signature by a required key; an older version is no substitute."""


class Unreadable(Damaged):
    """The operating system cannot read a file or folder of the store.

    The disk, the permissions, or something else in its place (a FIFO, a link to nowhere) prevents
    that. The bytes can still exist, so no other bytes are deleted because of this error.
    """


class NotDurable(KeptError, OSError):
    """A value is stored and visible, but the disk failed before it confirmed the value's name.

    A power cut can remove the value. Storing it again does not help: the disk reports such an
    error only once.
    """


class Diverged(KeptError):
    """Two stores hold different versions under one number, so neither can mirror the other."""


class VersionInUse(KeptError):
    """The version has aliases, so it is only deleted with force."""


class AliasProtected(KeptError):
    """The alias is protected: only a promotion or a rollback moves it, and nothing deletes it."""


class ConditionNotMet(KeptError):
    """The version does not fulfil the condition of its promotion, so no alias moves."""


class CommandFailed(KeptError):
    """The command of an evaluation failed, or printed no metrics; nothing is logged."""


class ImportFailed(KeptError):
    """A checkpoint of another program could not be fetched, or is not usable."""


class ExportFailed(KeptError):
    """Keras could not load or export the model; the cause is chained."""


class UploadFailed(KeptError):
    """W&B did not confirm a checkpoint; it stays in the outbox."""


class Refused(UploadFailed):
    """W&B rejects this checkpoint; it stays in the outbox, with the reason."""


class RunEnded(UploadFailed):
    """The run has ended, so this process can no longer log to it."""


class SaveFailed(KeptError, RuntimeError):
    """A checkpoint could not be written or committed; the cause is chained."""


class GroupError(KeptError, RuntimeError):
    """The processes of one run do not agree: other models, options, stores or versions."""


class RankMissing(GroupError, TimeoutError):
    """Processes of a run did not answer in time; `ranks` has their ranks."""

    def __init__(self, ranks: Sequence[int], own: int, size: int, what: str) -> None:
        """Take the missing ranks, the rank that waited, the group's size and what it waited for."""
        self.ranks = tuple(ranks)
        named = " and ".join(f"rank {rank}" for rank in ranks)
        super().__init__(
            f"{named} of {size} did not answer in time: rank {own} waited for {what}. Look at the "
            "output of that process; it may have ended, or may be slow"
        )


class CannotResume(KeptError):
    """A run cannot continue from this version; the message says what does not fit."""


class DamageWarning(UserWarning):
    """Something in a store is damaged, and the call went around it; the message names it."""
