"""The websocket transcripts recorded on Proxmox VE 9.2, read from tests/data/recordings."""

import json

from tests.support import recordings

_BINARY = 2


def terminal_output(name: str) -> list[bytes]:
    """The binary frames the server sent."""
    return _frames(name, "s2c")


def terminal_input(name: str) -> list[bytes]:
    """The binary frames the client sent."""
    return _frames(name, "c2s")


def _frames(name: str, direction: str) -> list[bytes]:
    lines = (recordings.DIRECTORY / f"{name}.jsonl").read_text().splitlines()
    frames = map(json.loads, lines)
    return [
        bytes.fromhex(frame["hex"])
        for frame in frames
        if frame["dir"] == direction and frame["opcode"] == _BINARY
    ]
