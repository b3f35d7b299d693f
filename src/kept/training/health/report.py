"""Reports the health of saved versions: a message for each change, and whether the fit must end."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from kept.store.health.state import NOTES, OK, UNHEALTHY, health_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kept.store.health.state import Health
    from kept.training.request import SaveResult

_SHOWN = 3  # findings in a message


class HealthReport:
    """What the results of one callback's saves say of health; on_health decides what follows."""

    def __init__(self, on_health: str) -> None:
        self._mode = on_health
        self._state = OK
        self._messages: deque[str] = deque()
        self._stops = False

    def begin(self) -> None:
        """Begin a fit: what the fits before have found does not count; their messages wait."""
        self._state, self._stops = OK, False

    def settle(self, result: SaveResult) -> None:
        """Take a result; if the health has changed, a message waits."""
        health = health_in(result.request.metadata)
        if self._mode == "off" or not result.committed or health.state in (None, self._state):
            return
        before, self._state = self._state, str(health.state)
        if health.state == UNHEALTHY:
            self._stops = self._mode == "stop"
            self._messages.append(
                f"{result.name} is unhealthy: {_some(health)}. {self._what_follows(result)}"
            )
        elif health.state == NOTES:
            self._messages.append(f"{result.name}: {_some(health)}")
        elif before == UNHEALTHY:
            self._messages.append(f"{result.name} is healthy again")

    def messages(self) -> Iterator[str]:
        """Yield each message once."""
        while self._messages:
            yield self._messages.popleft()

    def take_stop(self) -> bool:
        """Return whether the fit must end, once."""
        stops, self._stops = self._stops, False
        return stops

    def _what_follows(self, result: SaveResult) -> str:
        stays = result.request.best_only and not result.request.publish
        file = f", and {result.request.path} stays as it is" if stays else ""
        ends = ". Training ends (on_health='stop')" if self._stops else ""
        return f"It will not become best{file}{ends}"


def _some(health: Health) -> str:
    shown = "; ".join(health.findings[:_SHOWN])
    more = len(health.findings) - _SHOWN
    return f"{shown}; and {more} more" if more > 0 else shown
