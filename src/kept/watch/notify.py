"""Sends events as messages to people, by Apprise: Slack, Matrix, e-mail and a hundred more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kept.errors import InvalidInput
from kept.watch.target import Outcome, Result

if TYPE_CHECKING:
    from kept.watch.events import Happening

ATTEMPTS = 5


class Notification:
    """A URL of Apprise, such as slack://… or mailto://…."""

    kind = "notify"
    attempts: int | None = ATTEMPTS

    def __init__(self, url: str, place: tuple[str, str]) -> None:
        """Raises InvalidInput for a URL that Apprise does not take, and without Apprise."""
        try:
            import apprise
        except ImportError:
            raise InvalidInput(
                "--notify needs Apprise. Install it: pip install 'kept[notify]'"
            ) from None
        self._place = place
        self._apprise = apprise.Apprise()
        self._scheme = url.partition("://")[0]
        if "://" not in url or not self._apprise.add(url):
            raise InvalidInput(
                "Apprise does not take the URL of --notify. Its form depends on the service: "
                "https://github.com/caronc/apprise/wiki"
            )

    def send(self, happening: Happening, *, again: bool) -> Outcome:
        """See Target. Apprise reports only whether it worked."""
        mark = " (sent again)" if again else ""
        body = f"{happening.text()}{mark}\n{self._place[0]}"
        if self._apprise.notify(title=f"kept: {happening.kind} {happening.reference}", body=body):
            return Outcome(Result.SENT)
        return Outcome(Result.FAILED, f"Apprise could not send to {self._scheme}://…")
