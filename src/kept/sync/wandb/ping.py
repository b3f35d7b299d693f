"""Whether the server of W&B is there, asked without its SDK, which would try for minutes."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kept.sync.wandb.sdk import Place

_SECONDS = 10.0


def answers(place: Place) -> bool:
    """Return whether the server gives any sensible answer; it takes ten seconds at most.

    Asked is what uploads need, not the front page, which may be another machine's.
    """
    asked = urllib.request.Request(  # noqa: S310
        f"{place.base_url}/graphql",
        data=b'{"query": "{__typename}"}',
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(asked, timeout=_SECONDS):  # noqa: S310
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code < 500  # it wants a login: it is there
    except OSError as error:
        # TLS is wandb's affair, which may know the certificate: it is there.
        return isinstance(getattr(error, "reason", None), ssl.SSLError)
