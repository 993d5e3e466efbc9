"""What a tenant may let in: protocols, ports and sources, all bounded."""

import dataclasses
from collections.abc import Sequence

import pytest
from tests.unit.domain.test_mark import KEY, METERED, RECORD

from pve402.domain import errors, inbound, mark, meter, power


@pytest.mark.parametrize(
    ("protocol", "ports", "source", "kept"),
    [
        ("tcp", ["22"], None, (("22",), "")),
        ("udp", ["0053", "8000-8100"], "203.0.113.0/24", (("53", "8000-8100"), "203.0.113.0/24")),
        ("tcp", ["1-65535"], "2001:db8::1", (("1-65535",), "2001:db8::1/128")),
        ("ping", [], "192.0.2.7", ((), "192.0.2.7/32")),
    ],
)
def test_an_opening_is_kept_in_one_form(
    protocol: str, ports: Sequence[str], source: str | None, kept: tuple[tuple[str, ...], str]
) -> None:
    made = inbound.Opening.checked(protocol, ports, source)

    assert (made.ports, made.source) == kept
    assert inbound.from_list(inbound.to_list([made])) == (made,)


@pytest.mark.parametrize(
    ("protocol", "ports", "source"),
    [
        ("icmp", [], None),
        ("tcp", [], None),
        ("ping", ["7"], None),
        ("tcp", ["0"], None),
        ("tcp", ["65536"], None),
        ("tcp", ["9-8"], None),
        ("tcp", ["22,23"], None),
        ("tcp", ["٢٢"], None),
        ("tcp", ["22"] * 9, None),
        ("tcp", ["22"], "203.0.113.1/24"),
        ("tcp", ["22"], "+dc/private"),
    ],
)
def test_anything_else_is_refused(protocol: str, ports: Sequence[str], source: str | None) -> None:
    with pytest.raises(errors.InvalidRequest):
        inbound.Opening.checked(protocol, ports, source)


def test_the_most_that_a_lease_may_have_fits_a_guests_description() -> None:
    ports = tuple(f"{60000 + n}-{60001 + n}" for n in range(inbound.MOST_PORTS))
    widest = inbound.Opening(
        protocol="tcp", ports=ports, source="2001:db8:" + "ffff:" * 5 + "0/128"
    )
    openings = (widest,) * inbound.MOST_OPENINGS
    since = RECORD.expires_at
    pause = meter.Pause(burn=10**30, since=since, until=since + power.LONGEST_PAUSE, is_idle=True)
    full = dataclasses.replace(
        RECORD,
        openings=openings,
        metered=dataclasses.replace(METERED, pause=pause),
        suspension=power.Suspension(reason="\U0001f600" * 120, since=since, time_held=True),
        network="n" * 63,
        addresses={"ipv4": "255." * 4, "ipv6": "ffff:" * 8},
        wake_on=tuple(use.value for use in power.Use),
        idle_pause_minutes=1440,
    )

    text = mark.describe(full, KEY)

    assert len(text) <= 8192  # what Proxmox VE takes
    assert mark.read_description(text, KEY) == full
