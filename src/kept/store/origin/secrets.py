"""Replaces secrets in command lines and URLs by ***, before they are stored for all time.

No package does this: detect-secrets, gitleaks and their like report the lines of files in which a
secret may be, and know neither options nor where a value ends.
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from kept.store.origin.secret_names import has_account, has_digest, is_secret
from kept.store.origin.secret_values import MASK, without_random_words, without_tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from kept.store.encoding import Json

__all__ = ["MASK", "without_secrets", "without_secrets_in_url"]

_SHORTEST = 6  # characters of a value in the environment; shorter ones would hide common words
_OPTION = re.compile(r"--[a-z]+([-_][a-z]+)*(=.*)?|-[A-Za-z]", re.DOTALL)  # no value of an option
_NAMED = re.compile(r"([-+~]*[\w.@/\[\]-]+)=(.*)", re.DOTALL)
_SCHEME = re.compile(r"(?i)bearer|basic|token|apikey|digest|negotiate")  # before a secret
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s'\"]+")
_USERINFO = re.compile(r"(?<=://)[^/@\s:]{0,200}:(?!\d{1,5}(?:[/?#]|$))[^@]{0,200}@")
_SSH_USER = re.compile(r"(?<![\w/.@:-])[^\s/:@=,;'\"]{1,64}:[^\s/@:]{1,200}@(?!sha256:)")
_HOOK = re.compile(
    r"(https?://(?:hooks\.[^/?#]+|[^?#]*/webhooks?)/)[^?#]+"
)  # their paths are secrets
_PAIR = re.compile(r"([?&;])([^=&;#]+)=([^&;#]*)")
# A name begins no second time after a hyphen in it, so that the search takes linear time.
_NAME = r"(?<![\w.])(?<![\w.]-)[A-Za-z_][\w.-]*+"
_ASSIGNED = re.compile(rf"({_NAME})[\"']?\s*+[=:]>?\s*+")
_GIVEN = re.compile(rf"(?<!\S)-{{1,2}}({_NAME})\s++(?!-)(\S+)")
_NEXT = re.compile(rf"[,;&\s}}\])]\s?[\"']?(?:{_NAME})[\"']?\s?[=:]")
_HEADER = re.compile(r"\s*([\w-]+)\s*:\s*(?=\S)", re.DOTALL)


def without_secrets(
    arguments: Iterable[str], environment: Mapping[str, str] = os.environ
) -> list[str]:
    """Return the arguments of a command line with their secrets masked.

    Masked are the values of options, keys and headers with names such as --api-key, the values of
    environment variables of such names, passwords in URLs, the keys of well-known services, and
    long random words. It rather masks too much than too little.
    """
    known = {v for k, v in environment.items() if is_secret(k) and len(v) >= _SHORTEST}
    return list(_masked(arguments, sorted(known, key=len, reverse=True)))


def _masked(arguments: Iterable[str], known: list[str]) -> Iterator[str]:
    option, is_next = "", False
    for argument in arguments:
        if is_next and argument == "--":
            yield argument
        elif is_next and not _OPTION.fullmatch(argument):
            yield MASK
            is_option = argument.startswith("-") and is_secret(argument)
            is_next = is_option or _SCHEME.fullmatch(argument) is not None
        else:
            yield _argument(argument, option, known)
            bare = argument.rstrip(":=")
            is_name = argument.startswith("-") or bare != argument
            is_next = is_name and "=" not in bare and is_secret(bare)
            is_next = is_next or (_SCHEME.fullmatch(argument) is not None and bool(option))
            option = argument if argument.startswith("-") and "=" not in argument else ""


def _argument(argument: str, option: str, known: list[str]) -> str:
    """Return an argument without secrets; option is what stands before it, if that is an option."""
    named = _NAMED.fullmatch(argument)
    name, value = named.groups() if named and not _URL.match(argument) else (option, argument)
    start = argument[: len(argument) - len(value)]
    if start and value and is_secret(name):
        return f"{start}{MASK}"
    if has_account(name) and "://" not in value:
        user, colon, password = value.partition(":")
        value = f"{user}:{MASK}" if colon and password else value
    return _text(start, known) + _text(value, known, has_digest=has_digest(name))


def _text(text: str, known: list[str], *, has_digest: bool = False) -> str:
    """Return a text without secrets."""
    for secret in known:
        text = text.replace(secret, MASK)
    if text.lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(text)
            clean = _json(value, known)
            return text if clean == value else json.dumps(clean, ensure_ascii=False)
        except ValueError:  # perhaps YAML
            pass
        except RecursionError:
            return MASK
    header = _HEADER.match(text)
    if header and is_secret(header[1]):
        return f"{text[: header.end()]}{MASK}"
    text = _USERINFO.sub(f"{MASK}@", text)
    text = _URL.sub(lambda found: without_secrets_in_url(found[0]), text)
    text = _SSH_USER.sub(f"{MASK}@", text)
    text = without_tokens(_GIVEN.sub(_given, _assignments(text)))
    return text if has_digest else without_random_words(text)


def _json(value: Json, known: list[str]) -> Json:
    if isinstance(value, dict):
        return {
            _text(key, known): MASK if is_secret(key) and _has_text(inner) else _json(inner, known)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_json(inner, known) for inner in value]
    return _text(value, known) if isinstance(value, str) else value


def _has_text(value: Json) -> bool:
    return value is not None and value != "" and not isinstance(value, bool)


def _assignments(text: str) -> str:
    """Return a text such as "a=1,db.password=x" or "{password: x}" without the secret values.

    A value without quotes ends before the next name.
    """
    parts, place = [], 0
    for found in _ASSIGNED.finditer(text):
        start = found.end()
        if found.start() < place or start == len(text) or not is_secret(found[1]):
            continue
        quote = text[start] if text[start] in "\"'" else ""
        if quote:
            end = text.find(quote, start + 1)
        elif text[start] in "{[":
            end = -1
        else:
            following = _NEXT.search(text, start)
            end = following.start() if following else -1
        parts.append(f"{text[place:start]}{quote}{MASK}")
        place = end if end >= 0 else len(text)
    return "".join(parts) + text[place:]


def _given(found: re.Match[str]) -> str:
    before = found[0][: found.start(2) - found.start()]
    return f"{before}{MASK}" if is_secret(found[1]) else found[0]


def without_secrets_in_url(url: str) -> str:
    """Return a URL without a password, and with secret parameters such as signatures masked."""
    if "://" not in url:
        return without_tokens(_SSH_USER.sub(f"{MASK}@", url))
    url = _USERINFO.sub(f"{MASK}@", url)
    try:
        parts = urlsplit(url)
    except ValueError:  # no URL, such as "http://["
        return MASK
    user, at, host = parts.netloc.rpartition("@")
    is_name_only = parts.scheme == "ssh" and ":" not in user
    netloc = parts.netloc if not at or is_name_only else f"{MASK}@{host}"
    query = _PAIR.sub(_pair, f"?{parts.query}")[1:] if parts.query else ""
    changed = parts._replace(netloc=netloc, query=query)
    clean = url if changed == parts else urlunsplit(changed)
    return without_tokens(_HOOK.sub(rf"\g<1>{MASK}", clean))


def _pair(found: re.Match[str]) -> str:
    before, name, value = found.groups()
    return f"{before}{name}={MASK if value and is_secret(name) else value}"
