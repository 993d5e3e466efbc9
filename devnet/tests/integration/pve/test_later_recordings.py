"""Exchanges recorded later on Proxmox VE 9.2: setting up a service, pools, power, disks, cards.

Of the 557 in recordings2.jsonl these are about what the simulator has. They are sent family by
family, each in the order of the file, to one simulated world.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from devnet.tests.integration.pve import replay_states
from devnet.tests.support import pve_compare as compare
from devnet.tests.support.pve_later_replay import LaterReplay, load, options
from devnet.tests.support.pve_replay import Answer, Replay, Setup

from pve402_devnet.pve import SimulatedProxmox

DOCUMENTS = {document["name"]: document for document in load()}
FAMILIES = (
    r"setup-(?!pool)",
    r"resize-(?!with-snapshot)|hot-|mp-",
    r"suspend|resume|shutdown-timeout|start-211|reboot$|reboot-after|start-(missing|with|locked)",
    r"stop-locked|protection-",
    r"shutdown-(hangs|waiting|again)|reboot-(hangs|stopped)|stop-(while|overrule)|config-put-while",
    r"setup-pool|pool-|acl-specific",
    r"net-(?!duplicate|dhcp)",
    r"storage-(list|status|target)",
    r"feature-|snapshot-|(guest|put)-config|resize-with-snapshot|rollback-",
    r"clone-|delete-clone",
    r"fw-",
)
REPLAYED = tuple(name for family in FAMILIES for name in DOCUMENTS if re.match(family, name))
EXCLUDED: Mapping[str, str] = {
    r"oci-": "the simulator pulls no OCI images",
    r"sdn-|net-dhcp|start-251|interfaces-dhcp": "it has no software-defined networks and no DHCP",
    r"vzdump-|backup-|prune|during-backup|reboot-(in-)?backup": "its backups write nothing",
    r"restore-|create-from-backup": "so there is nothing to restore",
    r"ha-|cluster-ha": "it has no high availability",
    r"rrd|metrics-|notifications-|cluster-(log|tasks|options)": "figures that it does not keep",
    r"node-|aplinfo|download-url|query-url": "about the node's own machine",
    r"storage-(content-btrfs|bak)": "contents that only the recorded machine had",
    r"net-duplicate": "two guests with one address, which only packets would show",
}
"""What is not replayed, by pattern of its name, with the reason."""

DEVNET = Path(__file__).resolve().parents[3]
TOGETHER = (
    ("resize-parallel-1", "resize-parallel-2"),
    ("snapshot-parallel-1", "snapshot-parallel-2"),
    ("clone-parallel-1", "clone-parallel-2"),
)
OF_THE_IMAGE = re.compile(r"Number of|Total |Literal|Matched|File list|sent |total size")
ORDER_BY_CHANCE = (*TOGETHER[0], "stop-overrule")
"""Whether a worker waits for a lock, and which of its outputs comes first."""

_GUEST = "/nodes/pve/lxc"
DISK = "211/vm-211-disk-0.raw"

End = tuple[str | None, list[str]]


def _running(vmid: int) -> Setup:
    async def setup(replay: Replay) -> None:
        await replay.have(vmid, running=True)

    return setup


async def _stopped_240(replay: Replay) -> None:
    await replay.have(240, running=False)
    replay.edit(240, features="nesting=1")


async def _without_its_disk(replay: Replay) -> None:
    await replay.have(211, running=False)
    replay.world.storages.require("local", "pve").free(DISK)


async def _with_its_disk(replay: Replay) -> None:
    made = replay.world.storages.require("local", "pve").allocate(211, 1024**3, 0)
    assert made.name == DISK


async def _unlocked(replay: Replay) -> None:
    replay.edit(211, lock=None)


async def _deaf(replay: Replay) -> None:
    """Guest 211 with an init that reacts to nothing."""
    replay.edit(211, protection=None)
    await replay.have(211, running=False)
    replay.edit(211, entrypoint="/bin/sleep 100000")
    await replay.have(211, running=True)


async def _stopped_211(replay: Replay) -> None:
    await replay.have(211, running=False)


async def _just_started(replay: Replay) -> None:
    await replay.have(211, running=False)
    replay.edit(211, entrypoint=None)
    await replay.have(211, running=True)
    await replay.tick(2)
    await replay.proxmox.publish()


async def _roles_of_the_setup(replay: Replay) -> None:
    known = replay.world.access
    known.roles["Lease402Node"] = frozenset({"Sys.Audit"})
    known.roles["Lease402Storage"] = frozenset({"Datastore.AllocateSpace"})


async def _other_rules_of_the_setup(replay: Replay) -> None:
    for who in ("lease@pve", "lease@pve!svc"):
        replay.world.access.grant("/sdn/zones/localnetwork/vmbr0", who, "bridge")
        replay.world.access.grant("/storage/local", who, "Lease402Storage")


def _showing(*, old_secret: bool) -> Setup:
    async def setup(replay: Replay) -> None:
        assert isinstance(replay, LaterReplay)
        replay.shows_old_secret = old_secret

    return setup


def _free(vmid: int) -> Setup:
    async def setup(replay: Replay) -> None:
        await replay.remove(vmid)

    return setup


async def _running_250(replay: Replay) -> None:
    await replay.remove(250)
    net0 = "name=eth0,bridge=vmbr0,ip=10.77.0.81/24,gw=10.77.0.1"
    await replay.create(250, hostname="n250", rootfs="btr:1", swap=0, cores=None, net0=net0)
    await replay.have(250, running=True)


async def _fresh_210(replay: Replay) -> None:
    """Guest 210 as it was then: on btrfs, running, with tags and a description."""
    await replay.remove(210)
    net0 = "name=eth0,bridge=vmbr0,firewall=1,gw=10.77.0.1,ip=10.77.0.60/24"
    wanted = {"rootfs": "btr:1", "hostname": "g210", "swap": 0, "net0": net0, "onboot": 1}
    text = 'lease abc\n{"id": 7}'
    await replay.create(210, **wanted, tags="leased,b", description=text)
    await replay.have(210, running=True)


async def _snapshot_race_is_over(replay: Replay) -> None:
    """Which of two snapshots at once comes about is chance: it was p2."""
    conf = replay.world.guests[210].config
    if "p1" in conf.snapshots:
        conf.snapshots["p2"] = conf.snapshots.pop("p1")
        conf.options["parent"] = "p2"


async def _back_at_s1(replay: Replay) -> None:
    replay.world.guests[210].config.options["parent"] = "s1"


async def _changed_memory(replay: Replay) -> None:
    replay.edit(210, memory=192)


async def _protected_210(replay: Replay) -> None:
    replay.edit(210, protection=1)


async def _running_211_without_a_lock(replay: Replay) -> None:
    await replay.have(211, running=True)
    replay.edit(211, rootfs=f"local:{DISK},size=1G")


async def _source_of_clones(replay: Replay) -> None:
    replay.edit(210, protection=None)
    await replay.have(210, running=True)


async def _firewall_of_210(replay: Replay) -> None:
    """The source of the clones has options and a rule."""
    await _source_of_clones(replay)
    await replay.call("PUT", f"{_GUEST}/210/firewall/options", "root", enable=1)
    rule = {"type": "in", "action": "ACCEPT", "proto": "tcp", "dport": "22", "enable": 1}
    await replay.call("POST", f"{_GUEST}/210/firewall/rules", "root", **rule)


async def _no_firewall(replay: Replay) -> None:
    """Guests 200 and 201 on btrfs, 201 running with a card that is remembered."""
    bare = "name=eth0,bridge=vmbr0,firewall=1"
    await replay.create(200, hostname="g200", rootfs="btr:1", swap=0, net0=f"{bare},ip=dhcp")
    net0 = f"{bare},gw=10.77.0.1,ip=10.77.0.21/24,hwaddr=BC:24:11:42:6C:CE"
    await replay.create(201, hostname="g201", rootfs="btr:1", swap=0, net0=net0)
    await replay.have(201, running=True)


async def _private_networks(replay: Replay) -> None:
    networks = "192.168.0.0/16 172.16.0.0/12 169.254.0.0/16 100.64.0.0/10 10.0.0.0/8"
    for cidr in (*networks.split(), "fe80::/10", "fc00::/7"):
        await replay.call("POST", "/cluster/firewall/ipset/private", "root", cidr=cidr)


async def _reversed_rules(replay: Replay) -> None:
    """Each rule in turn to the top: what was added last is last."""
    group = "/cluster/firewall/groups/tenant"
    for pos in range(1, 5):
        await replay.call("PUT", f"{group}/{pos}", "root", moveto=0)


async def _more_rules_of_the_node(replay: Replay) -> None:
    common = {"type": "in", "action": "ACCEPT", "enable": 1}
    for special in ({"proto": "udp", "dport": "67", "iface": "vmbr0"}, {"macro": "ping"}):
        await replay.call("POST", "/nodes/pve/firewall/rules", "root", **common, **special)


async def _stopped_290(replay: Replay) -> None:
    net0 = "name=eth0,bridge=vmbr0,firewall=1,ip=10.77.0.90/24"
    await replay.create(290, net0=net0)


async def _protected_220(replay: Replay) -> None:
    replay.edit(220, protection=1)


SETUPS: Mapping[str, Setup] = {
    "setup-role-pve-prefix": _roles_of_the_setup,
    "setup-permissions-token": _other_rules_of_the_setup,
    "setup-token-old-secret": _showing(old_secret=True),
    "setup-token-expire-past": _showing(old_secret=False),
    "mp-add-stopped": _stopped_240,
    "suspend": _running(211),
    "start-missing-disk": _without_its_disk,
    "start-with-lock": _with_its_disk,
    "protection-on": _unlocked,
    "shutdown-hangs": _deaf,
    "reboot-stopped": _stopped_211,
    "reboot-hangs": _deaf,
    "shutdown-waiting": _deaf,
    "setup-pool": _just_started,
    "pool-create-pool-allocate": _free(260),
    "net-hot-ip": _running_250,
    "feature-snapshot-btrfs": _fresh_210,
    "snapshot-dir-refused": _running_211_without_a_lock,
    "snapshot-list-tree": _snapshot_race_is_over,
    "resize-with-snapshot": _back_at_s1,
    "rollback-memory": _changed_memory,
    "snapshot-delete-protected": _protected_210,
    "clone-source-config": _firewall_of_210,
    "clone-of-protected": _protected_220,
    "fw-index": _no_firewall,
    "fw-cluster-ipset-list": _private_networks,
    "fw-group-rules-reversed": _reversed_rules,
    "fw-node-rules": _more_rules_of_the_node,
    "fw-window-options": _stopped_290,
}


class Run:
    """What came of the replay, by name."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.task_ends: dict[str, End] = {}

    async def play(self, replay: LaterReplay) -> None:
        for vmid, host in ((210, 60), (211, 61), (240, 70)):
            net0 = f"name=eth0,bridge=vmbr0,firewall=1,gw=10.77.0.1,ip=10.77.0.{host}/24"
            await replay.create(vmid, hostname=f"g{vmid}", swap=0, net0=net0)
        await replay.have(211, running=True)
        await replay.have(240, running=True)
        for name in REPLAYED:
            if name not in self.answers:
                await self._send(replay, name)

    async def _send(self, replay: LaterReplay, name: str) -> None:
        if name in SETUPS:
            await SETUPS[name](replay)
        if DOCUMENTS[name]["request"]["params"].get("vmid") == 250:
            await replay.remove(250)
        names = next((names for names in TOGETHER if name in names), (name,))
        answers = await replay.send_together([DOCUMENTS[n] for n in names])
        self.answers.update(zip(names, answers, strict=True))
        ends: list[End] = []
        for one, answer in zip(names, answers, strict=True):
            if DOCUMENTS[one].get("task") and answer.status == 200:
                task = await replay.wait_for_task(answer.body["data"])
                ends.append((task.exit_status, list(task.lines)))
        for one in names if ends else ():
            if recorded := DOCUMENTS[one].get("task"):  # who wins a race is chance
                alike = [end for end in ends if end[0] == recorded["exitstatus"]]
                self.task_ends[one] = (alike or ends)[0]
                ends.remove(self.task_ends[one])


async def _replay_all() -> Run:
    run = Run()
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        SimulatedProxmox(options()) as proxmox,
        aiohttp.ClientSession(connector=connector) as http,
    ):
        replay = LaterReplay(proxmox, http)
        await replay.log_in()
        await run.play(replay)
    return run


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    return asyncio.run(_replay_all())


@pytest.mark.parametrize("name", REPLAYED)
def test_answers_as_recorded(run: Run, name: str) -> None:
    recorded, answer = DOCUMENTS[name]["response"], run.answers[name]

    differences = [
        *compare.status_line_differences(recorded, answer),
        *compare.header_differences(recorded, answer),
        *compare.body_differences(recorded["body"], answer.body),
    ]

    assert differences == []


@pytest.mark.parametrize("name", [name for name in REPLAYED if DOCUMENTS[name].get("task")])
def test_tasks_end_as_recorded(run: Run, name: str) -> None:
    recorded: dict[str, Any] = DOCUMENTS[name]["task"]
    exit_status, lines = run.task_ends[name]
    expected = replay_states.without_lines_of_the_rig(recorded["log"])
    expected, lines = (
        [line for line in log if not OF_THE_IMAGE.match(line)] for log in (expected, lines)
    )

    if name in ORDER_BY_CHANCE:
        expected, lines = (
            sorted(line for line in log if line not in replay_states.LOCK_LINES)
            for log in (expected, lines)
        )
    assert compare.normal(exit_status or "") == compare.normal(recorded["exitstatus"])
    assert list(compare.log_differences(expected, lines)) == []


def test_what_is_not_replayed_has_a_reason() -> None:
    left_out = [name for name in DOCUMENTS if name not in REPLAYED]

    assert [name for name in left_out if not re.match("|".join(EXCLUDED), name)] == []
    assert [p for p in EXCLUDED if not any(re.match(p, name) for name in left_out)] == []


@pytest.mark.parametrize("page", ["README.md", "docs/beside-proxmox.md"])
def test_the_pages_say_how_much_is_replayed(page: str) -> None:
    text = (DEVNET / page).read_text(encoding="utf-8")

    assert len(REPLAYED) == len(set(REPLAYED))
    assert f"{len(DOCUMENTS)} " in text
    assert f"the {len(REPLAYED)} about" in text
