"""Turns errors of object storage into kept's errors, without secrets.

obstore's errors quote requests and answers at length. kept uses only the status, the server's code
and its short message, and removes the secrets of the environment from these.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from kept.errors import AccessDenied, BucketNotFound, RemoteError, Unreachable

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([^<]{1,80})</Code>|\"code\":\s*\"?([\w.-]{1,80})")
_MESSAGE = re.compile(r"<Message>([^<]{1,300})|\"message\":\s*\"([^\"]{1,300})")
_SECRET_NAMES = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL|SAS", re.IGNORECASE)
_SIGNED = re.compile(r"(sig|X-Amz-[\w-]+|AWSAccessKeyId|Signature|token)=[^&\s\"']+", re.IGNORECASE)
# Credentials that are not from the environment, as a server may repeat them from a request.
_REPEATED = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|(?<=Credential=)[^,\s]+|(?<=Bearer )\S+")
_SHORTEST_SECRET = 6
_hidden: set[str] = set()  # secrets of profiles, which are in no variable


class _Cause(NamedTuple):
    error: type[RemoteError]
    codes: str  # a pattern for the server's code
    status: str  # a pattern for the HTTP status, if the code is unknown
    text: str  # a pattern for the text of the library, if there was no answer
    means: str


# The first cause that fits counts.
_CAUSES = [
    _Cause(AccessDenied, r"Expired|TokenRefreshRequired", "", "",
           "the credentials have expired. Renew them and try again"),
    _Cause(BucketNotFound, r"NoSuchBucket|ContainerNotFound", "", "",
           "there is no such bucket. Create it, or correct the location"),
    _Cause(AccessDenied, "", "", r"credential provider: AccessDenied",
           "there are no credentials"),
    _Cause(AccessDenied, r"RequestTimeTooSkewed", "", "",
           "this machine's clock is wrong, so its signatures are refused. Set the clock"),
    _Cause(AccessDenied,
           r"InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|AuthenticationFailed"
           r"|NoAuthenticationInformation|InvalidAuthenticationInfo", "401", "Unauthenticated",
           "the credentials are not accepted. Check the environment variables of the cloud"),
    _Cause(AccessDenied, r"AccessDenied|AuthorizationFailure|Forbidden", "403", "PermissionDenied",
           "the credentials do not allow this. Ask for permission to read, write and list"),
    _Cause(Unreachable, r"SlowDown|ServerBusy|InternalError|ServiceUnavailable|Conflict",
           "5..|429|409", "",
           "the server was too busy or broken, also after several attempts. Try again later"),
    _Cause(AccessDenied, "", "", r"169\.254\.|latest/api/token|metadata\.google|metadata/instance"
           r"|MissingAccount|Account must be specified|[Cc]redential",
           "no credentials were found. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or "
           "AWS_PROFILE, with the package botocore), GOOGLE_APPLICATION_CREDENTIALS or "
           "AZURE_STORAGE_ACCOUNT_NAME and _KEY"),
    _Cause(Unreachable, "", "", r"BadScheme",
           "the endpoint is not https. If you want that, set AWS_ENDPOINT_URL to http://…"),
    _Cause(Unreachable, "", "", r"kind: Timeout|[Tt]imed out|TimedOut",
           "the server did not answer in time, also after several attempts. Try again later"),
    _Cause(Unreachable, "", "", r"Connect|dns error|sending request|HTTP error|Body|connection",
           "the server cannot be reached, or breaks off the connection. Check the network and "
           "the endpoint"),
]  # fmt: skip


def error_of(text: str, location: str, key: str) -> RemoteError:
    """Return the error to raise for the text of a library error about a key."""
    status, code = _first(_STATUS, text), _first(_CODE, text)
    for cause in _CAUSES:
        if _fits(cause, status, code, text):
            return cause.error(f"{location}: {cause.means}. {_details(status, code, text, key)}")
    return RemoteError(f"{location}: the request failed. {_details(status, code, text, key)}")


def hide(*secrets: str | None) -> None:
    """Make scrub remove these secrets as well."""
    _hidden.update(filter(None, secrets))


def scrub(text: str) -> str:
    """Return text without the secrets of the environment, and without signatures."""
    secrets = {
        value
        for name, value in os.environ.items()
        if _SECRET_NAMES.search(name) and len(value) >= _SHORTEST_SECRET and "/" not in value[:1]
    }
    for secret in sorted(secrets | _hidden, key=len, reverse=True):
        text = text.replace(secret, "…")
    return _REPEATED.sub("…", _SIGNED.sub(r"\1=…", text))


def _fits(cause: _Cause, status: str, code: str, text: str) -> bool:
    if code and cause.codes and re.search(cause.codes, code):
        return True
    if status:
        return bool(cause.status and re.fullmatch(cause.status, status))
    return bool(cause.text and re.search(cause.text, text))


def _details(status: str, code: str, text: str, key: str) -> str:
    said = " ".join(filter(None, (status, code, _first(_MESSAGE, text).strip())))
    if not said:
        said = text.strip().partition("\n")[0]
        said = re.sub(r"https?://\S+", "the server", said)[:300]
    return scrub(f"Received for {key!r}: {said}")


def _first(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return next(filter(None, match.groups()), "") if match else ""
