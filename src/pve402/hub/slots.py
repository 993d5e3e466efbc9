"""The slots of a session: which channel is on which slot, and how many slots there may be.

Commands and streams have slots of their own, so that neither takes the others'.
Slots are reused, generations are not: `SLOT.GENERATION` names one channel forever, so late
output from an earlier channel is recognised.
"""

from collections.abc import Iterator

from pve402.hub import errors
from pve402.hub.channels import Channel, Send, Sink


class Slots:
    """Gives out slots and takes them back."""

    def __init__(self, commands: int, streams: int = 0) -> None:
        self._channels: dict[int, Channel] = {}
        self._commands = range(commands)
        self._streams = range(commands, commands + streams)
        self._generations = [0] * (commands + streams)

    def __len__(self) -> int:
        return len(self._channels)

    def __iter__(self) -> Iterator[Channel]:
        return iter(tuple(self._channels.values()))

    def take(
        self,
        sink: Sink,
        *,
        encoding: str,
        send: Send,
        is_stream: bool = False,
    ) -> Channel:
        """Put a new channel on a free slot.

        Raises TooManyCommands, or TooManyStreams, if there is none.
        """
        slots = self._streams if is_stream else self._commands
        free = next((slot for slot in slots if slot not in self._channels), None)
        if free is None:
            raise errors.TooManyStreams if is_stream else errors.TooManyCommands
        self._generations[free] += 1
        channel = Channel(
            slot=free,
            generation=self._generations[free],
            sink=sink,
            encoding=encoding,
            send=send,
        )
        self._channels[free] = channel
        return channel

    def find(self, name: str) -> Channel | None:
        """The channel with this name; None if it has ended or never existed."""
        slot = name.partition(".")[0]
        channel = self._channels.get(int(slot)) if slot.isdigit() and len(slot) < 4 else None
        return channel if channel is not None and channel.name == name else None

    def hold(self, channel: Channel) -> bool:
        """Whether this channel is still on its slot."""
        return self._channels.get(channel.slot) is channel

    def release(self, channel: Channel) -> None:
        """Free a channel's slot; idempotent."""
        if self.hold(channel):
            del self._channels[channel.slot]

    def clear(self) -> tuple[Channel, ...]:
        """Free all slots; returns the channels that were on them."""
        channels = tuple(self._channels.values())
        self._channels.clear()
        return channels
