"""What a guest says of its addresses, bounded and sorted out."""

from ipaddress import ip_interface

import pytest
from tests.support import fake_leases

from pve402.domain import networks
from pve402.leases import on_sale, seen_addresses
from pve402.proxmox import errors as pve
from pve402.proxmox.guest_views import Interface


class Guests:
    """Answers with what a test says."""

    def __init__(self, *cards: Interface) -> None:
        self.cards = cards
        self.asked = 0

    async def interfaces(self, _ref):
        self.asked += 1
        if not self.cards:
            raise pve.Unreachable("no answer")
        return self.cards


def card(*addresses: str, name: str = "eth0") -> Interface:
    found = tuple(map(ip_interface, addresses))
    return Interface(name=name, hardware_address="02:00:00:00:00:01", addresses=found)


def seen_by(guests: Guests, clock=lambda: 0.0, **profile) -> seen_addresses.SeenAddresses:
    network = networks.NetworkProfile(name="default", bridge="vmbr0", **profile)
    known = fake_leases.sku_catalogue().with_network(network)
    return seen_addresses.SeenAddresses(guests, on_sale.OnSale(known), clock=clock)


ROW = fake_leases.make_lease("eip155:84532:0x" + "a" * 40)


@pytest.mark.parametrize(
    ("cards", "found"),
    [
        ([card("127.0.0.1/8", "10.0.0.5/24")], ["10.0.0.5"]),
        ([card("fe80::1/64", "2001:db8::5/64", "ff02::1/128", "::/0")], ["2001:db8::5"]),
        ([card("10.1.0.1/24", name="docker0"), card("10.0.0.5/24")], ["10.0.0.5"]),
        ([card("10.0.0.5/24", "10.0.0.5/8")], ["10.0.0.5"]),
        ([card(*(f"10.0.0.{n}/24" for n in range(64)))], [f"10.0.0.{n}" for n in range(8)]),
        ([card(name="other")], []),
    ],
)
async def test_only_usable_addresses_of_its_card_are_told_and_few_of_them(cards, found):
    seen = seen_by(Guests(*cards))

    await seen.ask(ROW)

    assert [address for _, address in seen.known(ROW)] == found


async def test_assigned_addresses_are_not_told_twice():
    row = ROW.evolve(addresses={"ipv4": "10.0.0.5"})
    seen = seen_by(Guests(card("10.0.0.5/24", "2001:db8::5/64")), ipv6=networks.Method.AUTO)

    await seen.ask(row)

    assert seen.known(row) == (("ipv6", "2001:db8::5"),)


async def test_what_was_seen_stays_while_nobody_answers():
    guests = Guests(card("10.0.0.5/24"))
    seen = seen_by(guests)
    await seen.ask(ROW)
    guests.cards = ()

    await seen.ask(ROW)

    assert seen.known(ROW) == (("ipv4", "10.0.0.5"),)


async def test_it_asks_soon_again_until_it_is_complete():
    now, guests = [0.0], Guests(card())
    seen = seen_by(guests, lambda: now[0])
    assert (seen.is_due(ROW), seen.are_coming(ROW)) == (True, True)

    await seen.ask(ROW)
    assert (seen.is_due(ROW), seen.are_coming(ROW)) == (False, True)
    now[0] = 1.0
    assert seen.is_due(ROW)

    guests.cards = (card("10.0.0.5/24"),)
    await seen.ask(ROW)
    now[0] = 5.0
    assert (seen.is_due(ROW), seen.are_coming(ROW)) == (False, False)
    now[0] = 15.0
    assert seen.is_due(ROW)


@pytest.mark.parametrize(
    ("profile", "due", "coming"),
    [
        ({"ipv4": networks.Method.NONE}, False, False),
        ({"ipv4": networks.Method.MANUAL}, True, False),
        ({"ipv4": networks.Method.NONE, "ipv6": networks.Method.AUTO}, True, True),
    ],
)
def test_only_who_gets_addresses_by_itself_is_asked(profile, due, coming):
    seen = seen_by(Guests(), **profile)

    assert (seen.is_due(ROW), seen.are_coming(ROW)) == (due, coming)
