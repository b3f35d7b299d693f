"""What the server of W&B knows of an artifact: its versions, and which of them is the best.

Invariant: the alias best stays with the better version, whichever process logs to the artifact. The
server has no transaction for that, so it is asked before a version takes the alias, and after. If
it cannot be asked, the decision of the save counts.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from kept.errors import UploadFailed
from kept.store.health.state import is_unhealthy
from kept.store.metadata import SAVED_AT
from kept.store.rank.best import BEST, score_of
from kept.sync.wandb import sdk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.store.rank.best import Score
    from kept.sync.outbox.entry import Entry
    from kept.sync.wandb.sdk import Place

_BEST_SECONDS = 20.0  # how long best waits: the SDK retries without a limit
_LOGGED_AT_ONCE = 20  # versions that other processes may log during one upload
# The SDK's texts for a missing artifact; it has no error class for that.
_NOT_FOUND = re.compile(r"not found in|Unable to parse 'Artifacts' response")


def known(place: Place, artifact: str, type: str) -> dict[str, str]:
    """Return the write_ids of the versions that the server has of an artifact, with their times.

    The time is that of the save; "" for versions of earlier versions of kept.

    Raises UploadFailed if the server does not answer. Api.artifact_collection_exists would return
    False then, and kept would send the versions a second time.
    """
    with sdk.upload_failed():
        api = sdk.package().Api(overrides={"base_url": place.base_url})
        try:
            found = [
                version.metadata for version in api.artifacts(type, _path(api, place, artifact))
            ]
        except ValueError as error:
            if _NOT_FOUND.search(str(error)):
                return {}
            raise
    return {
        metadata[sdk.WRITE_ID]: str(metadata.get(SAVED_AT, ""))
        for metadata in found
        if sdk.WRITE_ID in metadata
    }


def best(place: Place, artifact: str) -> dict[str, Any] | None:
    """Return the metadata of the version that has the alias best, None if none has it.

    Raises UploadFailed if the server does not answer within 20 s.
    """
    answer: Future[dict[str, Any] | None] = Future()
    question = threading.Thread(
        target=_answer_best, args=(answer, place, artifact), name="kept-wandb", daemon=True
    )
    with sdk.upload_failed():
        sdk.package()  # raises InvalidInput here, not in the thread
        question.start()
        return answer.result(_BEST_SECONDS)


def _answer_best(answer: Future[dict[str, Any] | None], place: Place, artifact: str) -> None:
    try:
        answer.set_result(_best(place, artifact))
    except BaseException as error:  # noqa: BLE001 - raised by result
        answer.set_exception(error)


def _best(place: Place, artifact: str) -> dict[str, Any] | None:
    wandb = sdk.package()
    api = wandb.Api(overrides={"base_url": place.base_url})
    try:
        return dict(api.artifact(f"{_path(api, place, artifact)}:best").metadata)
    except (ValueError, wandb.errors.CommError) as error:
        if _NOT_FOUND.search(str(error)):
            return None
        raise


def _path(api: Any, place: Place, artifact: str) -> str:
    return f"{place.entity or api.default_entity}/{place.project}/{artifact}"


@contextlib.contextmanager
def best_kept(place: Place, entry: Entry, aliases: list[str]) -> Iterator[list[str]]:
    """Yield the aliases for the upload of an entry: without best if the server has a better one.

    Afterwards best goes back to a better version that another process has logged meanwhile.
    """
    score = score_of(entry.info["metadata"])
    if score is None or BEST not in aliases:
        yield aliases
        return
    held = None
    with contextlib.suppress(UploadFailed):
        held = score_of(best(place, entry.artifact) or {})
    if score.is_same_metric(held) and not score.beats(held):
        yield [alias for alias in aliases if alias != BEST]
        return
    yield aliases
    with contextlib.suppress(UploadFailed), sdk.upload_failed():
        _give_back(place, entry, score)


def _give_back(place: Place, entry: Entry, score: Score) -> None:
    api = sdk.package().Api(overrides={"base_url": place.base_url})
    listed = api.artifacts(entry.info["type"], _path(api, place, entry.artifact))
    newest = list(itertools.islice(listed, _LOGGED_AT_ONCE))
    mine = next((v for v in newest if v.metadata.get(sdk.WRITE_ID) == entry.write_id), None)
    if mine is None or BEST not in mine.aliases:
        return
    for version in newest:
        other = None if is_unhealthy(version.metadata) else score_of(version.metadata)
        if other is not None and other.is_same_metric(score) and other.beats(score):
            mine, score = version, other
    if BEST not in mine.aliases:
        mine.aliases.append(BEST)
        mine.save()
