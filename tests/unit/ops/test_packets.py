"""What packets show: only those that arrived before, and no longer do."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pve402.domain import catalogue
from pve402.guests.probes import Fate, Probe, Sent
from pve402.ops.checks import packets
from pve402.ops.checks.findings import Verdict

A, B = (Probe(kind="tcp", host=f"10.0.0.{n}", port=25) for n in (1, 2))
NONE = packets.Claim(what="no packet", arrives=False, probes=(A, B), lacks="no target is known")
SOME = packets.Claim(what="a packet", arrives=True, probes=(A, B), lacks="no target is known")
SHIPPED = Path("src/pve402/domain/default_catalogue.toml").read_text()
YES, NO, UNSENT = Fate.ARRIVED, Fate.SILENT, Fate.UNSENT
TABLE = """
[network.lan]
bridge = "vmbr0"
isolation = "tenant"
ipv4 = { subnet = "10.7.0.0/24", gateway = "10.7.0.1", ranges = ["10.7.0.10-10.7.0.20"] }
"""
PLACES = packets.Places(
    own=("10.7.0.10",),
    other=("10.7.0.11",),
    nodes=("10.7.0.1", "192.0.2.1"),
    target=("203.0.113.9",),
    target_port=443,
    mail=("203.0.113.25",),
    spare="10.7.0.12",
)


def fates(*pair: Fate) -> packets.Fates:
    sent = [Sent(fate=fate, reason="no ping") for fate in pair]
    return dict(zip((A, B), sent, strict=True))


@pytest.mark.parametrize(
    ("claim", "before", "after", "verdict"),
    [
        (NONE, (YES, YES), (NO, NO), Verdict.OK),
        (NONE, (YES, NO), (NO, NO), Verdict.OK),
        (NONE, (NO, NO), (NO, NO), Verdict.UNKNOWN),
        (NONE, (YES, YES), (NO, YES), Verdict.FAIL),
        (NONE, (NO, NO), (YES, NO), Verdict.FAIL),
        (NONE, (UNSENT, UNSENT), (NO, NO), Verdict.UNKNOWN),
        (NONE, (YES, YES), (UNSENT, UNSENT), Verdict.UNKNOWN),
        (NONE, (YES, UNSENT), (NO, NO), Verdict.UNKNOWN),
        (NONE, (YES, YES), (NO, UNSENT), Verdict.UNKNOWN),
        (NONE, (YES, YES), (YES, UNSENT), Verdict.FAIL),
        (SOME, (YES, YES), (YES, NO), Verdict.OK),
        (SOME, (YES, YES), (NO, NO), Verdict.FAIL),
        (SOME, (NO, NO), (NO, NO), Verdict.UNKNOWN),
        (SOME, (NO, NO), (UNSENT, NO), Verdict.UNKNOWN),
        (SOME, (YES, YES), (YES, UNSENT), Verdict.UNKNOWN),
    ],
)
def test_only_a_packet_that_arrived_before_shows_something(
    claim: packets.Claim, before: tuple[Fate, Fate], after: tuple[Fate, Fate], verdict: Verdict
) -> None:
    assert packets.judge(claim, fates(*before), fates(*after)).verdict is verdict


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ((NO, NO), (NO, NO), Verdict.NOTE),
        ((YES, NO), (NO, NO), Verdict.OK),
        ((NO, NO), (NO, YES), Verdict.FAIL),
        ((NO, NO), (UNSENT, NO), Verdict.UNKNOWN),
        ((NO, UNSENT), (NO, NO), Verdict.UNKNOWN),
    ],
)
def test_what_may_be_closed_anyway_is_a_note_and_shows_nothing(
    before: tuple[Fate, Fate], after: tuple[Fate, Fate], verdict: Verdict
) -> None:
    claim = dataclasses.replace(NONE, closed="its own firewall may close them")

    found = packets.judge(claim, fates(*before), fates(*after))

    assert found.verdict is verdict
    assert (claim.closed in found.detail) is (verdict is Verdict.NOTE)


def test_nothing_to_send_is_unknown() -> None:
    empty = packets.Claim(what="no packet", arrives=False, probes=(), lacks="no target is known")

    found = packets.judge(empty, {}, {})

    assert (found.verdict, found.detail) == (
        Verdict.UNKNOWN,
        "none was sent, since no target is known",
    )


def claims(extra: str = "") -> dict[str, packets.Claim]:
    book = catalogue.parse(SHIPPED + TABLE + extra)
    return {one.what: one for one in packets.claims(book.networks["lan"], PLACES)}


def test_the_router_may_answer_names_and_ping_alone() -> None:
    sent = {str(probe) for claim in claims().values() for probe in claim.probes}

    assert {"tcp 10.7.0.1 port 8006", "tcp 10.7.0.1 port 80", "ping 192.0.2.1"} <= sent
    assert "ping 10.7.0.1" not in sent
    assert "ping 10.7.0.1 as 10.7.0.12" in sent


@pytest.mark.parametrize(
    ("egress", "passes"),
    [
        ("", True),
        ('egress = "none"', False),
        ('egress = [{ address = "203.0.113.0/24", protocol = "tcp", ports = [80, 443] }]', True),
        ('egress = [{ address = "203.0.113.0/24", protocol = "tcp", ports = [80] }]', False),
    ],
)
def test_the_internet_is_open_as_the_profile_says(egress: str, passes: bool) -> None:
    found = claims(egress)

    assert found[f"{'a' if passes else 'no'} packet to the internet, port 443"].arrives is passes


def test_a_guest_that_is_not_connected_at_all_does_not_seem_isolated() -> None:
    sent = claims('egress = "none"').values()
    probes = [probe for one in sent for probe in one.probes]
    before = dict.fromkeys(probes, Sent(fate=YES))
    after = dict.fromkeys(probes, Sent(fate=NO))

    found = {one.what: packets.judge(one, before, after).verdict for one in sent}

    assert found.pop("a ping to the router") is Verdict.FAIL
    assert set(found.values()) == {Verdict.OK}


@pytest.mark.parametrize(
    ("claim", "seen", "said"),
    [
        (NONE, (YES, NO), "isolation: none; it arrives: tcp 10.0.0.1 port 25"),
        (NONE, (NO, NO), "none arrived: tcp 10.0.0.1 port 25, tcp 10.0.0.2 port 25"),
        (SOME, (YES, NO), "arrives: tcp 10.0.0.1 port 25"),
    ],
)
def test_without_isolation_what_passes_is_told(
    claim: packets.Claim, seen: tuple[Fate, Fate], said: str
) -> None:
    found = packets.describe(claim, fates(*seen))

    assert said in found.detail
    assert found.verdict is (Verdict.OK if claim.arrives else Verdict.NOTE)


@pytest.mark.parametrize("claim", [NONE, SOME])
def test_without_isolation_what_could_not_be_sent_is_unknown(claim: packets.Claim) -> None:
    found = packets.describe(claim, fates(YES, UNSENT))

    assert (found.verdict, "not sent: tcp 10.0.0.2 port 25" in found.detail) == (
        Verdict.UNKNOWN,
        True,
    )
