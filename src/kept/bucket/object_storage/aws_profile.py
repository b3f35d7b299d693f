"""Reads credentials, region and endpoint from the profiles of ~/.aws.

obstore reads the environment and asks the roles of machines, but knows no profiles. botocore knows
all their forms: keys, roles to assume, single sign-on, programs that print credentials.
https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from kept.bucket.object_storage.errors import hide
from kept.errors import AccessDenied, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from botocore.credentials import Credentials
    from botocore.session import Session

# obstore asks again half way to that, so renewed files take effect without a restart of the run.
_LIFETIME = timedelta(minutes=10)
# If one of these is set, the environment identifies the user; AWS's tools read it first, too.
_FIRST = (
    "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)  # fmt: skip
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


def profile_options() -> dict[str, Any]:
    """Return the options for obstore from the user's profile; none without a profile.

    AWS_PROFILE names the profile; without it, the default profile counts if the environment has no
    credentials. Raises InvalidInput (no such profile, no botocore) or AccessDenied.
    """
    named = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")
    if not named and (any(map(os.environ.get, _FIRST)) or not _has_files()):
        return {}
    try:
        import botocore.session
    except ImportError:
        if not named:
            return {}
        raise InvalidInput(
            f"AWS_PROFILE needs the package botocore: pip install botocore. Received: {named!r}"
        ) from None
    return _options(botocore.session.Session(), named)


def _has_files() -> bool:
    files = {"AWS_SHARED_CREDENTIALS_FILE": "credentials", "AWS_CONFIG_FILE": "config"}
    return any(
        os.path.exists(os.path.expanduser(os.environ.get(variable) or f"~/.aws/{name}"))
        for variable, name in files.items()
    )


def _options(session: Session, named: str | None) -> dict[str, Any]:
    """Return those of credentials, region and endpoint that the environment does not set."""
    settings = _settings(session, named)
    found: dict[str, Any] = {}
    if (region := settings.get("region")) and not any(map(os.environ.get, _REGIONS)):
        found["region"] = region
    if (endpoint := _endpoint(session, settings)) and not any(map(os.environ.get, ENDPOINTS)):
        found["endpoint"] = endpoint
    if (provider := ProfileCredentials(named)).found:
        found["credential_provider"] = provider
    return found


def _settings(session: Session, named: str | None) -> Mapping[str, Any]:
    from botocore.exceptions import BotoCoreError, ProfileNotFound

    try:
        settings: Mapping[str, Any] = session.get_scoped_config()
    except ProfileNotFound:
        existing = ", ".join(sorted(session.available_profiles)) or "none"
        raise InvalidInput(
            f"AWS_PROFILE names a profile that is not in ~/.aws/config or ~/.aws/credentials. "
            f"Existing profiles: {existing}. Received: {named!r}"
        ) from None
    except BotoCoreError as error:
        raise InvalidInput(
            f"The profiles in ~/.aws cannot be read ({type(error).__name__}). Correct the files."
        ) from None
    return settings


def _endpoint(session: Session, settings: Mapping[str, Any]) -> str | None:
    services = session.full_config.get("services", {}).get(settings.get("services"), {})
    found: str | None = services.get("s3", {}).get("endpoint_url") or settings.get("endpoint_url")
    return found


class ProfileCredentials:
    """Provides credentials to obstore, which calls it repeatedly; its repr has none."""

    def __init__(self, named: str | None) -> None:
        """Read the credentials of a profile; raises AccessDenied if that fails."""
        self._named = named
        self._credentials = self._read()

    def __repr__(self) -> str:
        return f"<ProfileCredentials {self._named or 'default'}>"

    @property
    def found(self) -> bool:
        """Whether the profile has credentials."""
        return self._credentials is not None

    def __call__(self) -> dict[str, Any]:
        """Return credentials in the form that obstore takes; raises AccessDenied."""
        if not hasattr(self._credentials, "refresh_needed"):  # otherwise they renew themselves
            self._credentials = self._read()
        if self._credentials is None:
            raise self._denied("has no credentials")
        with _Failure() as failure:
            keys = self._credentials.get_frozen_credentials()
        self._check(failure)
        hide(keys.access_key, keys.secret_key, keys.token)
        return {
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
            "token": keys.token,
            "expires_at": datetime.now(UTC) + _LIFETIME,
        }

    def _read(self) -> Credentials | None:
        import botocore.session

        session = botocore.session.Session()
        for role in ("container-role", "iam-role"):  # of machines: obstore asks for them
            session.get_component("credential_provider").remove(role)
        found: Credentials | None = None
        with _Failure() as failure:
            found = session.get_credentials()
        self._check(failure)
        return found

    def _check(self, failure: _Failure) -> None:
        if failure.kind:
            raise self._denied(f"gives no credentials ({failure.kind}). They may have expired")

    def _denied(self, what: str) -> AccessDenied:
        name = f"the profile {self._named!r}" if self._named else "the default profile"
        return AccessDenied(
            f"AWS: {name} in ~/.aws {what}. Renew or correct them (aws sso login, aws configure)."
        )


class _Failure:
    """Context manager that keeps only the type of an error of botocore.

    The text of the error may quote a program that prints secrets.
    """

    kind = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        if not isinstance(error, (BotoCoreError, ClientError, OSError, ValueError)):
            return False
        self.kind = type(error).__name__
        return True
