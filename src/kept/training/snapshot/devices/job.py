"""What is to be brought to a process, and what has arrived."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from kept.training.snapshot.devices.layout import JaxArray, Layout


class Job(NamedTuple):
    """A range of elements of an array, and the rank of the process that gets it."""

    array: JaxArray
    start: int  # first element
    stop: int
    owner: int
    variable: int  # the caller's number of the array

    def parts(self, size: int) -> list[Job]:
        """Return jobs of up to `size` elements each."""
        starts = range(self.start, self.stop, size)
        return [self._replace(start=start, stop=min(start + size, self.stop)) for start in starts]


Arrived = tuple[Job, "JaxArray", slice]  # an array on one device, and the job's elements in it


def places_of(layout: Layout) -> dict[int, list[tuple[int, int]]]:
    """Map each rank to the places of its devices in the layout: part and copy."""
    found: dict[int, list[tuple[int, int]]] = {}
    for part, devices in enumerate(layout.devices):
        for copy, device in enumerate(devices):
            found.setdefault(device.process_index, []).append((part, copy))
    return found
