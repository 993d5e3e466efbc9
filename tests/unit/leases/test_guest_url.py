"""Where guests reach the service: the addresses of one name, as it resolves now."""

import asyncio
from collections.abc import Sequence

import pytest

from pve402.leases import guest_url

Answers = list[Sequence[str] | Exception]


def resolving(url: str | None, *answers: Sequence[str] | Exception) -> guest_url.GuestUrl:
    left: Answers = list(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        found = left.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    return guest_url.GuestUrl(url, resolve)


def shown(url: guest_url.GuestUrl) -> list[tuple[str, str, str]]:
    return [(str(one.subnet), one.protocol, one.ports) for one in url.allowed]


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("http://up.example", "80"),
        ("https://up.example", "443"),
        ("http://up.example:4023", "4023"),
    ],
)
async def test_the_port_is_exact(url: str, port: str) -> None:
    made = resolving(url, ["10.0.0.5"])

    await made.look()

    assert shown(made) == [("10.0.0.5/32", "tcp", port)]


async def test_addresses_have_one_order_and_a_bound() -> None:
    many = [f"10.0.0.{n}" for n in range(20)]
    made = resolving(
        "http://up.example",
        ["fd00::5", "10.0.0.6", "10.0.0.5", "127.0.0.1", "fe80::1%eth0"],
        many,
    )

    await made.look()
    first = [one[0] for one in shown(made)]
    await made.look()

    assert first == ["10.0.0.5/32", "10.0.0.6/32", "fd00::5/128"]
    assert len(made.allowed) == 8


@pytest.mark.parametrize("trouble", [OSError("no such name"), TimeoutError(), UnicodeError("idna")])
async def test_a_name_that_is_not_found_keeps_its_addresses(trouble: Exception) -> None:
    made = resolving("http://up.example", ["10.0.0.5"], trouble, [], ["10.0.0.9"])

    seen = []
    for _ in range(4):
        await made.look()
        seen.append(shown(made)[0][0])

    assert seen == ["10.0.0.5/32", "10.0.0.5/32", "10.0.0.5/32", "10.0.0.9/32"]


async def test_an_address_needs_no_resolver() -> None:
    made = guest_url.GuestUrl("http://[fd00::5]:4023")

    await made.start()
    await made.stop()

    assert shown(made) == [("fd00::5/128", "tcp", "4023")]


async def test_without_a_url_nothing_is_open() -> None:
    made = guest_url.GuestUrl(None)

    await made.start()
    await asyncio.sleep(0)
    await made.stop()

    assert made.allowed == ()
