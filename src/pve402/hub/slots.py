"""The slots of a session: which channel is on which, and how many there may be.

A slot is used again, its generation is not: `SLOT.GENERATION` names one channel for ever, so what
comes late from an earlier one is told apart.
"""

from collections.abc import Iterator

from pve402.hub import errors
from pve402.hub.channels import Channel, DropOutput, Sink


class Slots:
    """Gives out slots and takes them back."""

    def __init__(self, count: int) -> None:
        self._channels: dict[int, Channel] = {}
        self._generations = [0] * count

    def __len__(self) -> int:
        return len(self._channels)

    def __iter__(self) -> Iterator[Channel]:
        return iter(tuple(self._channels.values()))

    def take(self, sink: Sink, *, encoding: str, drop_output: DropOutput) -> Channel:
        """Put a new channel on a free slot. Raises TooManyCommands."""
        count = len(self._generations)
        free = next((slot for slot in range(count) if slot not in self._channels), None)
        if free is None:
            raise errors.TooManyCommands
        self._generations[free] += 1
        channel = Channel(
            slot=free,
            generation=self._generations[free],
            sink=sink,
            encoding=encoding,
            drop_output=drop_output,
        )
        self._channels[free] = channel
        return channel

    def find(self, name: str) -> Channel | None:
        """The channel of this name; None if it is over or never was."""
        slot = name.partition(".")[0]
        channel = self._channels.get(int(slot)) if slot.isdigit() and len(slot) < 4 else None
        return channel if channel is not None and channel.name == name else None

    def hold(self, channel: Channel) -> bool:
        """Whether this channel is still on its slot."""
        return self._channels.get(channel.slot) is channel

    def release(self, channel: Channel) -> None:
        """Give the slot of a channel back; doing it again changes nothing."""
        if self.hold(channel):
            del self._channels[channel.slot]

    def clear(self) -> tuple[Channel, ...]:
        """Give all slots back; returns the channels that were on them."""
        channels = tuple(self._channels.values())
        self._channels.clear()
        return channels
