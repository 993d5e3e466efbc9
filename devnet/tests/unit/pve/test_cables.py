"""When the firewall looks, and what of a configuration becomes a cable."""

import dataclasses
from collections.abc import Sequence

from pve402_devnet.pve import NodeOptions, Progress, SimulatedProxmox, SimulatorOptions, cables
from pve402_devnet.pve.cluster import Guest, guest_spec
from pve402_devnet.pve.config import GuestConfig
from pve402_devnet.pve.runtime import Bridge, Card, NullNetwork


class Notes(NullNetwork):
    """A network that notes what it is told."""

    connects = True

    def __init__(self) -> None:
        self.scripts: list[str] = []
        self.cards: dict[int, Sequence[Card]] = {}

    async def filter(self, node: str, script: str) -> None:
        self.scripts.append(script)

    async def connect(self, node: str, vmid: int, cards: Sequence[Card]) -> None:
        self.cards[vmid] = cards


def simulator(notes: Notes) -> SimulatedProxmox:
    options = SimulatorOptions(
        progress=Progress.BY_TICK,
        publish_interval_seconds=0,
        nodes=(NodeOptions(address="10.77.0.1"),),
    )
    return SimulatedProxmox(options, network=notes)


def guest(proxmox: SimulatedProxmox, **networks: str) -> Guest:
    made = Guest(vmid=100, node="pve", config=GuestConfig(options={**networks}), created_at=0)
    proxmox.world.guests[100] = made
    return made


def test_the_node_has_its_address_on_the_first_bridge() -> None:
    node = NodeOptions(address="10.77.0.1", bridges=("vmbr0", "vmbr1"))
    other = NodeOptions(name="other", address="10.77.0.2")
    proxmox = SimulatedProxmox(SimulatorOptions(nodes=(node, other)))

    bridges = [cables.bridges_of(proxmox.world, name) for name in ("pve", "other")]

    assert bridges == [
        [
            Bridge(name="vmbr0", addresses=("10.77.0.1/24",), shared=True),
            Bridge(name="vmbr1", shared=True),
        ],
        [Bridge(name="vmbr0", addresses=("10.77.0.2/24",), shared=True)],
    ]


async def test_filters_follow_every_ten_seconds() -> None:
    notes = Notes()
    async with simulator(notes) as proxmox:
        await proxmox.tick(0)
        proxmox.world.firewalls.cluster.options["enable"] = 1
        await proxmox.tick(9.9)
        before = len(notes.scripts)
        await proxmox.tick(0.2)

    assert before == 1
    assert "node-IN" not in notes.scripts[0]
    assert "node-IN" in notes.scripts[1]


async def test_a_lease_comes_after_its_time() -> None:
    notes = Notes()
    async with simulator(notes) as proxmox:
        made = guest(proxmox, net0="name=eth0,bridge=vmbr0,ip=dhcp,hwaddr=BC:24:11:00:00:01")
        proxmox.world.mark_started(made)
        await proxmox.world.runtime.start(100, guest_spec(made))
        await cables.connect(proxmox.world, made)
        at_first = notes.cards[100][0]
        await proxmox.tick(proxmox.world.latencies.dhcp + 0.1)

    assert (at_first.addresses, at_first.gateways) == ((), ())
    assert notes.cards[100][0] == dataclasses.replace(
        at_first, addresses=("10.77.0.100/24",), gateways=("10.77.0.1",)
    )


def test_a_card_holds_what_the_configuration_says() -> None:
    proxmox = simulator(Notes())
    made = guest(
        proxmox,
        net1="name=wan,bridge=vmbr1,ip=10.0.0.2/24,gw=10.0.0.1,ip6=fc00::2/64,gw6=fc00::1,"
        "hwaddr=BC:24:11:00:00:02,firewall=1,link_down=1",
    )

    assert cables.cards_of(proxmox.world, made) == [
        Card(
            index=1,
            name="wan",
            bridge="vmbr1",
            hardware_address="BC:24:11:00:00:02",
            addresses=("10.0.0.2/24", "fc00::2/64"),
            gateways=("10.0.0.1", "fc00::1"),
            firewall=True,
            link_down=True,
        )
    ]
