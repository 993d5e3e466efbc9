"""Terminals opened as a token, or as the console user where tokens are refused in silence."""

from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from pve402.hub import errors
from pve402.hub.terminal_socket import TermproxyConnector
from pve402.proxmox import errors as proxmox_errors
from pve402.proxmox.guests import GuestRef

GUEST = GuestRef(node="pve", vmid=101)
BINARY, CLOSED = aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.CLOSED


class FakeSocket:
    def __init__(self, answers: list[bytes]) -> None:
        self.sent: list[bytes] = []
        self._answers = answers

    async def send_bytes(self, data: bytes) -> None:
        self.sent.append(data)

    async def receive(self) -> Any:
        if not self._answers:
            return SimpleNamespace(type=CLOSED, data=None)
        return SimpleNamespace(type=BINARY, data=self._answers.pop(0))

    async def close(self) -> None:
        return


class FakeGuests:
    """Stands for `proxmox.guests.Guests` of one identity."""

    def __init__(self, *answers: bytes, error: Exception | None = None) -> None:
        self.opened = 0
        self._answers, self._error = answers, error

    async def open_terminal(self, _: GuestRef) -> Any:
        self.opened += 1
        if self._error is not None:
            raise self._error
        return SimpleNamespace(user="u@pve", ticket="PVEVNC:SECRET", port=5900)

    async def connect(self, _: GuestRef, __: object) -> Any:
        self.socket = FakeSocket(list(self._answers))
        return self.socket


async def test_token_opens_and_output_behind_the_greeting_is_kept() -> None:
    guests = FakeGuests(b"O", b"K\x1b[H", b"# ")
    terminal = await TermproxyConnector(guests)(GUEST)  # type: ignore[arg-type]
    assert guests.socket.sent == [b"u@pve:PVEVNC:SECRET\n"]
    assert [await terminal.receive() for _ in range(3)] == [b"\x1b[H", b"# ", None]


async def test_console_user_takes_over_for_good() -> None:
    token, user = FakeGuests(), FakeGuests(b"OK")
    opener = TermproxyConnector(token, user)  # type: ignore[arg-type]
    await opener(GUEST)
    await opener(GUEST)
    assert (token.opened, user.opened) == (1, 2)


@pytest.mark.parametrize("answers", [(), (b"NO",)])
async def test_refusal_without_another_way_is_unreachable(answers: tuple[bytes, ...]) -> None:
    with pytest.raises(errors.TerminalUnreachable) as caught:
        await TermproxyConnector(FakeGuests(*answers))(GUEST)  # type: ignore[arg-type]
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (proxmox_errors.GuestMissing(), errors.GuestNotRunning),
        (proxmox_errors.Unreachable(), errors.TerminalUnreachable),
        (proxmox_errors.PermissionDenied(), errors.TerminalUnreachable),
    ],
)
async def test_errors_of_proxmox_are_translated(
    error: Exception, expected: type[Exception]
) -> None:
    with pytest.raises(expected):
        await TermproxyConnector(FakeGuests(error=error))(GUEST)  # type: ignore[arg-type]
