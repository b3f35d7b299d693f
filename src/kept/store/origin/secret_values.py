"""Masks values that look like secrets, whatever their names are."""

from __future__ import annotations

import re

MASK = "***"
# The keys of well-known services, JWTs, private keys, and what follows the name of a scheme.
_TOKEN = re.compile(
    r"\b(?:sk-[\w-]{16,}|[sr]k_(?:live|test)_\w{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}"
    r"|gl[a-z]{2,4}-[\w-]{16,}|hf_\w{20,}|xox[a-z]-[\w-]{10,}|xapp-[\w-]{10,}|A[KS]IA[A-Z0-9]{16}"
    r"|AIza[\w-]{30,}|ya29\.[\w-]{16,}|eyJ[\w-]{10,5000}\.[\w-]+(?:\.[\w-]*)?|whsec_[\w+/=-]{16,}"
    r"|wandb_v\d_\w{20,}|npm_\w{30,}|pypi-[\w-]{30,}|dckr_pat_[\w-]{16,}|nvapi-[\w-]{16,}"
    r"|gsk_\w{20,}|r8_\w{20,}|dapi[a-f0-9]{32}|dop_v1_\w{32,}|SG\.[\w-]{16,64}\.[\w-]{16,}"
    r"|lin_api_\w{20,}|shp[a-z]{2}_\w{20,}|ATATT[\w=-]{20,}|AGE-SECRET-KEY-\w+"
    r"|\d{8,10}:[\w-]{35})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY.*",
    re.DOTALL,
)
_AFTER_SCHEME = re.compile(r"\b([Bb]earer\s+)\S+|\b(Basic\s+)[\w+/=-]{8,}|\b(Token\s+)[\w-]{16,}")
_HEX = re.compile(r"(?<![0-9A-Za-z])(?:[0-9a-f]{32,}|[0-9A-F]{32,})(?![0-9A-Za-z])")
_DIGEST = re.compile(r"(?:@|(?:sha\d*|blake\w*|md5|crc\w*)[:=-])$", re.IGNORECASE)
_LONGEST_SCHEME = 16  # characters before a digest that can name its kind
_LONG = re.compile(r"(?<![\w+/=-])[\w+/=-]{20,}")
_SIGN = re.compile(r"[-_+/=]")
_PER_SIGN = 9  # characters in a random word for each of its signs; paths and names have more signs
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|.")
_AWS, _NAME_LIKE_OF_AWS = 40, 3.5  # characters of a secret key of AWS, so more are masked
_NAME_LIKE = 3.0  # characters in a part: a name has more, and a random word has two


def without_tokens(text: str) -> str:
    """Return a text without the keys of well-known services."""
    return _TOKEN.sub(MASK, _AFTER_SCHEME.sub(_after_scheme, text))


def without_random_words(text: str) -> str:
    """Return a text without long words that no person has chosen, unless they are digests."""
    text = _HEX.sub(_hex, text)
    return _LONG.sub(lambda found: MASK if _is_random(found[0]) else found[0], text)


def _after_scheme(found: re.Match[str]) -> str:
    return f"{found[1] or found[2] or found[3]}{MASK}"


def _hex(found: re.Match[str]) -> str:
    before = found.string[max(0, found.start() - _LONGEST_SCHEME) : found.start()]
    is_number = found[0].isdecimal()
    return found[0] if is_number or _DIGEST.search(before) else MASK


def _is_random(word: str) -> bool:
    """Return whether a word has both cases and digits, and shorter parts than CamelCase has."""
    plain = _SIGN.sub("", word)
    if len(word) - len(plain) > len(word) / _PER_SIGN:
        return False
    has_all = any(map(str.islower, plain)) and any(map(str.isupper, plain))
    if not has_all or not any(map(str.isdigit, plain)):
        return False
    limit = _NAME_LIKE_OF_AWS if len(word) == _AWS else _NAME_LIKE
    return len(plain) < limit * len(_PART.findall(plain))
