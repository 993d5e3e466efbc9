"""The names that the simulated node answers for."""

import socket

import pytest

from pve402_devnet.wires import services

HEAD = b"\xab\xcd\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"


def question(name: str, kind: int = 1) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return HEAD + labels + b"\0" + kind.to_bytes(2, "big") + b"\0\x01"


def test_a_name_below_test_is_the_machine_outside() -> None:
    said = services.answer(question("mail.Test"))

    assert said[:2] == HEAD[:2]
    assert said[-4:] == socket.inet_aton(services.OUTSIDE_ADDRESS)
    assert int.from_bytes(said[6:8], "big") == 1


@pytest.mark.parametrize(("name", "kind", "code"), [("mail.test", 28, 0), ("mail.example", 1, 3)])
def test_what_is_not_there_has_no_answer(name: str, kind: int, code: int) -> None:
    said = services.answer(question(name, kind))

    assert said[3] & 0xF == code
    assert int.from_bytes(said[6:8], "big") == 0


@pytest.mark.parametrize("garbage", [b"", HEAD, HEAD + b"\x04mail", HEAD + b"\0"])
def test_garbage_is_passed_over(garbage: bytes) -> None:
    assert services.answer(garbage) == b""
