"""Turns errors of object storage into kept's errors, without secrets.

obstore's errors quote requests and answers at length. kept uses only the status, the server's code
and its short message, and removes the secrets of the environment from these.
"""

from __future__ import annotations

import contextlib
import os
import re
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import NamedTuple

from kept.errors import AccessDenied, BucketNotFound, RemoteError, Unreachable

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(
    r"<Code>([^<]{1,80})</Code>|\"code\":\s*\"?([\w.-]{1,80})|\(code: ([\w.-]{1,80})\)"
)
_MESSAGE = re.compile(
    r"<Message>([^<]{1,300})|\"message\":\s*\"([^\"]{1,300})"
    r"|DeleteObjects request failed for key \S+: ([^\n]{1,300}) \(code: "
)
_REGION = re.compile(
    r"<Region>([a-z0-9-]{1,40})</Region>|expecting '([a-z0-9-]{1,40})'"
    r"|<Endpoint>[^<]{0,100}?s3[.-]([a-z]+(?:-[a-z]+)+-\d+)\."
)
_SENT_TO = re.compile(r"Error performing \w+ (https?)://([^/\s@]{1,200})(/[^/\s?]*)")
_TIMED_OUT = re.compile(r"kind: Timeout|[Tt]imed ?[Oo]ut")
_OF_THE_MACHINE = r"169\.254\.|latest/api/token|metadata\.google|metadata/instance"
_SECRET_NAMES = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL|SAS", re.IGNORECASE)
_SIGNED = re.compile(r"(sig|X-Amz-[\w-]+|AWSAccessKeyId|Signature|token)=[^&\s\"']+", re.IGNORECASE)
# Credentials that are not from the environment, as a server may repeat them from a request.
_REPEATED = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|(?<=Credential=)[^,\s]+|(?<=Bearer )\S+")
_SHORTEST_SECRET = 6
_REGION_SECONDS = 5
_hidden: set[str] = set()  # secrets of profiles, which are in no variable


class _Cause(NamedTuple):
    error: type[RemoteError]
    codes: str  # a pattern for the server's code
    status: str  # a pattern for the HTTP status, if the code is unknown
    text: str  # a pattern for the text of the library, if there was no answer
    means: str


_ELSEWHERE = _Cause(
    RemoteError, r"PermanentRedirect|TemporaryRedirect|IllegalLocationConstraint", "30[1278]",
    r"redirect without LOCATION",
    "the bucket is in another region, or at another endpoint. {region}",
)  # fmt: skip
# The first cause that fits counts.
_CAUSES = [
    _Cause(AccessDenied, r"Expired|TokenRefreshRequired", "", "",
           "the credentials have expired. Renew them and try again"),
    _Cause(BucketNotFound, r"NoSuchBucket|ContainerNotFound", "", "",
           "there is no such bucket. Create it, or correct the location"),
    _ELSEWHERE,
    _Cause(AccessDenied, "", "", r"credential provider: AccessDenied",
           "there are no credentials"),
    _Cause(AccessDenied, r"RequestTimeTooSkewed", "", "",
           "this machine's clock is wrong, so its signatures are refused. Set the clock"),
    _Cause(AccessDenied,
           r"InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|AuthenticationFailed"
           r"|NoAuthenticationInformation|InvalidAuthenticationInfo|AuthorizationHeaderMalformed",
           "401", "Unauthenticated",
           "the credentials are not accepted. Check the environment variables of the cloud"),
    _Cause(RemoteError, r"QuotaExceeded|StorageFull|InsufficientStorage", "507", "",
           "the bucket is full, or its quota is used up. Free room, or raise the quota"),
    _Cause(RemoteError, r"InvalidObjectState|BlobArchived", "", "",
           "the object lies in an archive, where nothing can read it. Restore it to a class of "
           "storage for reading; exclude the store from rules that archive"),
    _Cause(AccessDenied, r"KMS", "", "",
           "the key that encrypts the bucket cannot be used. Ask for permission to use it"),
    _Cause(AccessDenied, r"AccountProblem|AllAccessDisabled|AccountIsDisabled|UserSuspended", "",
           "", "the account is blocked. Ask the provider"),
    _Cause(AccessDenied, r"AccessDenied|AuthorizationFailure|AuthorizationPermissionMismatch"
           r"|Forbidden", "403", "PermissionDenied",
           "the credentials do not allow to {verb}. Ask for this permission ({permission})"),
    _Cause(Unreachable, r"SlowDown|ServerBusy|TooManyRequests|Throttl|RequestLimitExceeded"
           r"|RateLimit", "429", "",
           "the server asks for fewer requests, also after several attempts. Try again later, "
           "with fewer processes at once"),
    _Cause(Unreachable, r"Conflict|OperationAborted", "409", "",
           "another request was changing the same key, also after several attempts. Try again "
           "later"),
    _Cause(Unreachable, r"InternalError|ServiceUnavailable", "5..", "",
           "the server was too busy or broken, also after several attempts. Try again later"),
    _Cause(AccessDenied, "", "", _OF_THE_MACHINE
           + r"|MissingAccount|Account must be specified|[Cc]redential",
           "no credentials were found. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or "
           "AWS_PROFILE, with the package botocore), GOOGLE_APPLICATION_CREDENTIALS or "
           "AZURE_STORAGE_ACCOUNT_NAME and _KEY"),
    _Cause(Unreachable, "", "", r"BadScheme",
           "the endpoint is not https. If you want that, set AWS_ENDPOINT_URL to http://…"),
    _Cause(Unreachable, "", "", _TIMED_OUT.pattern,
           "the server did not answer in time. Check the network and the endpoint; try again "
           "later"),
    _Cause(Unreachable, "", "", r"invalid list response",
           "the server answered with something else than a list of keys, also after several "
           "attempts. Check the endpoint and the proxies; try again later"),
    _Cause(Unreachable, "", "", r"Connect|dns error|sending request|HTTP error|Body|connection",
           "the server cannot be reached, or breaks off the connection. Check the network and "
           "the endpoint"),
]  # fmt: skip
# What a request needs: a pattern for the library's text, the verb, S3's permission.
_NEEDS = [
    (r"DeleteObjects|[?&]delete\b|performing DELETE", "delete", "S3: s3:DeleteObject"),
    (r"list request", "list", "S3: s3:ListBucket"),
    (r"performing (PUT|POST)", "write", "S3: s3:PutObject"),
    (r"performing (GET|HEAD)", "read", "S3: s3:GetObject and s3:ListBucket"),
    (r"", "do this", "kept needs to read, write, list and delete"),
]


def error_of(text: str, location: str, key: str) -> RemoteError:
    """Return the error to raise for the text of a library error about a key."""
    status, code = _first(_STATUS, text), _first(_CODE, text)
    for cause in _CAUSES:
        if _fits(cause, status, code, text):
            means = cause.means
            if "{region}" in means:
                means = means.format(region=_region_to_set(text))
            elif "{verb}" in means:
                _, verb, permission = next(n for n in _NEEDS if re.search(n[0], text))
                means = means.format(verb=verb, permission=permission)
            return cause.error(f"{location}: {means}. {_details(status, code, text, key)}")
    return RemoteError(f"{location}: the request failed. {_details(status, code, text, key)}")


def has_timed_out(text: str) -> bool:
    """Return whether the text of a library error says that the location gave no answer in time."""
    if _STATUS.search(text) or re.search(_OF_THE_MACHINE, text):
        return False
    return bool(_TIMED_OUT.search(text))


def _region_to_set(text: str) -> str:
    """Return what to do about a redirect; with the region, if the server names it."""
    region = _first(_REGION, text) or _asked_region(text)
    if region:
        return f"Set AWS_REGION={region}"
    return "Set AWS_REGION to the region of the bucket, and AWS_ENDPOINT_URL only if it is not AWS"


def _asked_region(text: str) -> str:
    """Ask the server for the region of the bucket, without credentials; "" if it does not say.

    The library does not show the answer to a request in the wrong region, whose header names it.
    """
    sent = _SENT_TO.search(text)
    if not sent:
        return ""
    scheme, host, bucket = sent.groups()
    connect = HTTPSConnection if scheme == "https" else HTTPConnection
    try:
        with contextlib.closing(connect(host, timeout=_REGION_SECONDS)) as connection:
            connection.request("HEAD", bucket)
            named = connection.getresponse().getheader("x-amz-bucket-region") or ""
    except (HTTPException, OSError, ValueError):
        return ""
    return named if re.fullmatch(r"[a-z0-9-]{1,40}", named) else ""


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
    if cause is _ELSEWHERE and _REGION.search(text):  # an answer that names the right region
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
