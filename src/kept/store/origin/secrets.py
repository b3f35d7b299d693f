"""Replaces secrets in command lines and URLs by ***, before they are stored for all time."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MASK = "***"
_SHORTEST = 6  # characters of a value in the environment; shorter ones would hide common words
# Words in the names of options and variables whose values are secrets.
_SECRET = re.compile(
    r"(?i)(token|secret|passw(or)?d|passphrase|pwd|api[-_]?key|access[-_]?key|private[-_]?key"
    r"|auth|credential|cookie|signature|bearer|(^|[-_])sig$|dsn|webhook|connection[-_]?string)"
)
_NO_SECRET = re.compile(
    r"(?i)(author|tokeni[sz]|tokens|token[-_]?(id|len|count)|num[-_]?token|authenticator$)"
)
# Values that are secrets whatever their option is: keys of well-known services, and JWTs.
_TOKEN = re.compile(
    r"\b(sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
    r"|hf_[A-Za-z0-9]{20,}|xox[abprs]-[\w-]{10,}|A[KS]IA[A-Z0-9]{16}|AIza[\w-]{30,}"
    r"|eyJ[\w-]{10,}\.[\w-]+\.[\w-]+|whsec_[\w+/=-]{16,}|wandb_v\d_\w{20,})"
)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"]+")
_PAIR = re.compile(r"([?&;])([^=&;#]+)=([^&;#]*)")


def is_secret(name: str) -> bool:
    """Return whether a name is that of an option or variable with a secret."""
    return bool(_SECRET.search(name)) and not _NO_SECRET.search(name)


def without_secrets(
    arguments: Iterable[str], environment: Mapping[str, str] = os.environ
) -> list[str]:
    """Return the arguments of a command line with their secrets masked.

    Masked are the values of options such as --api-key, the values of secret environment variables,
    the keys of well-known services, and passwords in URLs.
    """
    known = {v for k, v in environment.items() if is_secret(k) and len(v) >= _SHORTEST}
    return list(_masked(arguments, sorted(known, key=len, reverse=True)))


def _masked(arguments: Iterable[str], known: list[str]) -> Iterator[str]:
    is_next = False
    for argument in arguments:
        name, equals, value = argument.partition("=")
        is_option = argument.startswith("-")
        if is_next and not is_option:
            yield MASK
        elif equals and is_secret(name.rpartition("://")[2]) and "://" not in name:
            yield f"{name}={MASK}" if value else argument
        else:
            yield _text(argument, known)
        is_next = is_option and not equals and is_secret(argument)


def _text(text: str, known: list[str]) -> str:
    for secret in known:
        text = text.replace(secret, MASK)
    text = _URL.sub(lambda found: without_secrets_in_url(found[0]), text)
    return _TOKEN.sub(MASK, text)


def without_secrets_in_url(url: str) -> str:
    """Return a URL without a password, and with secret parameters such as signatures masked."""
    if "://" not in url:
        return _TOKEN.sub(MASK, url)
    try:
        parts = urlsplit(url)
    except ValueError:  # no URL, such as "http://["
        return MASK
    user, at, host = parts.netloc.rpartition("@")
    is_name_only = parts.scheme == "ssh" and ":" not in user
    netloc = parts.netloc if not at or is_name_only else f"{MASK}@{host}"
    query = _PAIR.sub(_pair, f"?{parts.query}")[1:] if parts.query else ""
    changed = parts._replace(netloc=netloc, query=query, fragment=_TOKEN.sub(MASK, parts.fragment))
    if changed == parts:
        return _TOKEN.sub(MASK, url)
    return _TOKEN.sub(MASK, urlunsplit(changed))


def _pair(found: re.Match[str]) -> str:
    before, name, value = found.groups()
    return f"{before}{name}={MASK if value and is_secret(name) else value}"
