"""Findings of the suite `remote` that are known and not mended yet."""

from __future__ import annotations

import re

# Patterns of "OUTCOME CASE: WHAT". Remove one when its cause is mended; the suite fails on others.
KNOWN = (
    # `verify` lists a request that fails as damage: exit code 4.
    r"false damage verify: (LIST|GET)( of [\w. ]+)? (403|404|409|412|html|200err) ",
)


def is_known(outcome: str, text: str) -> bool:
    """Return whether a finding is one of those that are listed here."""
    return any(re.match(pattern, f"{outcome} {text}") for pattern in KNOWN)
