"""Everything that kept raises on purpose.

    KeptError
    ├── InvalidInput (ValueError)      what was passed in cannot be used
    │   ├── InvalidName                artifact name or alias
    │   ├── InvalidReference           text that should name a version
    │   ├── InvalidPath                path inside a version, or a file to be stored
    │   ├── InvalidMetadata            metadata that JSON cannot hold
    │   ├── InvalidCheckpoint          arguments of a checkpoint callback
    │   └── NoActiveRun                there is no run of W&B to log to
    ├── NotFound (LookupError)
    │   ├── ArtifactNotFound
    │   ├── VersionNotFound
    │   │   └── VersionGone            it was deleted, and its content has been, too
    │   └── KeyNotFound                no such key in a bucket
    ├── KeyExists                      put_if_absent found the key taken
    ├── StoreError                     the location cannot be used as a store
    │   ├── NotAStore
    │   ├── NewerFormat
    │   ├── BeingCollected             a gc is about to delete what is needed there
    │   └── RemoteError                object storage did not do what was asked
    │       ├── BucketNotFound         no such bucket or container
    │       ├── AccessDenied           credentials are missing, wrong, expired or not enough
    │       ├── Unreachable            no answer, or only answers that say: later
    │       └── UnsafeServer           it would let one writer overwrite another's commit
    ├── Damaged                        stored bytes are not what was written
    ├── Diverged                       two stores hold different versions under one number
    ├── VersionInUse                   the version has aliases, so it is not deleted
    ├── UploadFailed                   W&B did not confirm a checkpoint, which stays in the outbox
    │   ├── Refused                    and will not whenever it is asked; later ones are sent
    │   └── RunEnded                   and will not in this run, which was ended
    ├── SaveFailed (RuntimeError)      a checkpoint could not be written or committed
    └── CannotResume                   a version does not fit the model, optimizer or run

Messages say what was received and what to do about it.
"""

from __future__ import annotations


class KeptError(Exception):
    """Base of every error that kept raises on purpose."""


class InvalidInput(KeptError, ValueError):
    """What was passed in cannot be used."""


class InvalidName(InvalidInput):
    """An artifact name or an alias that is not allowed."""


class InvalidReference(InvalidInput):
    """A text that should name a version and does not."""


class InvalidPath(InvalidInput):
    """A path that may not stand in a version, or a file that cannot be stored."""


class InvalidMetadata(InvalidInput):
    """Metadata that JSON cannot hold."""


class InvalidCheckpoint(InvalidInput):
    """Arguments of a checkpoint callback that cannot work."""


class NoActiveRun(InvalidInput):
    """There is no run of W&B to log to."""


class NotFound(KeptError, LookupError):
    """Something that was asked for by name is not there."""


class ArtifactNotFound(NotFound):
    """The store has no artifact of that name."""


class VersionNotFound(NotFound):
    """The artifact has no such version or alias."""


class VersionGone(VersionNotFound):
    """The version was deleted, and gc has deleted its content since, or is about to."""


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
    """A gc is about to delete what is needed there; it can be stored when the gc is done."""


class RemoteError(StoreError):
    """Object storage did not do what was asked of it; the message names the cause."""


class BucketNotFound(RemoteError):
    """There is no such bucket or container."""


class AccessDenied(RemoteError):
    """The credentials are missing, wrong, expired, or do not allow it."""


class Unreachable(RemoteError):
    """The server does not answer, or asks to come back later, after all retries."""


class UnsafeServer(RemoteError):
    """The server ignores If-None-Match, so two writers could overwrite each other's commits."""


class Damaged(KeptError):
    """Stored bytes are not what was written."""


class Diverged(KeptError):
    """Two stores hold different versions under one number, so neither can mirror the other."""


class VersionInUse(KeptError):
    """The version has aliases, so it is not deleted without being told to."""


class UploadFailed(KeptError):
    """W&B did not confirm a checkpoint; it stays in the outbox."""


class Refused(UploadFailed):
    """W&B does not take this checkpoint as it is; it stays in the outbox, with the reason."""


class RunEnded(UploadFailed):
    """The run was ended, so nothing can be logged to it any more from this process."""


class SaveFailed(KeptError, RuntimeError):
    """A checkpoint could not be written or committed; the cause is chained."""


class CannotResume(KeptError):
    """A version that a run cannot go on from; the message says what does not fit."""
