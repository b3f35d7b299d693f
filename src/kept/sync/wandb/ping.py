"""Finds out whether the server of W&B answers, without its SDK, which would retry for minutes."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kept.sync.wandb.sdk import Place

_SECONDS = 10.0


def answers(place: Place) -> bool:
    """Return whether the server answers within ten seconds.

    The request goes to the API that uploads need, because another machine may serve the front page.
    """
    question = urllib.request.Request(  # noqa: S310 - the URL of wandb's own settings
        f"{place.base_url}/graphql",
        data=b'{"query": "{__typename}"}',
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(question, timeout=_SECONDS):  # noqa: S310 - see above
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code < 500  # for example, it wants a login: it works
    except OSError as error:
        # A TLS error comes from a server that works; wandb may know its certificate.
        return isinstance(getattr(error, "reason", None), ssl.SSLError)
