"""States that the exchanges of recordings2.jsonl begin in."""

from collections.abc import Mapping

from devnet.tests.support.pve_later_replay import LaterReplay
from devnet.tests.support.pve_replay import Replay, Setup

_GUEST = "/nodes/pve/lxc"
_DISK = "211/vm-211-disk-0.raw"


def _running(vmid: int) -> Setup:
    async def setup(replay: Replay) -> None:
        await replay.have(vmid, running=True)

    return setup


async def _stopped_240(replay: Replay) -> None:
    await replay.have(240, running=False)
    replay.edit(240, features="nesting=1")


async def _without_its_disk(replay: Replay) -> None:
    await replay.have(211, running=False)
    replay.world.storages.require("local", "pve").free(_DISK)


async def _with_its_disk(replay: Replay) -> None:
    made = replay.world.storages.require("local", "pve").allocate(211, 1024**3, 0)
    assert made.name == _DISK


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
    replay.edit(211, rootfs=f"local:{_DISK},size=1G")


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


async def _with_dhcp(replay: Replay) -> None:
    """Guest 251 has been up for a while, and its router gave it the recorded address."""
    (card,) = replay.world.guests[251].config.networks().values()
    replay.world.leases[card["hwaddr"]] = 46
    await replay.tick(5)


async def _reload_that_fails(replay: Replay) -> None:
    replay.world.networks.reload_fails = True


async def _no_guests_in_the_network(replay: Replay) -> None:
    await replay.remove(*range(270, 276))


async def _backed_up(replay: Replay) -> None:
    """A backup of guest 210 runs: on btrfs it takes a snapshot first, and the file is locked."""
    await _fresh_210(replay)
    guest = replay.world.guests[210].config
    section = {**guest.options, "snaptime": 1}
    guest.snapshots["s1"] = {**section, "description": "changed text\n"}
    guest.snapshots["vzdump"] = {
        **section,
        "description": "vzdump backup snapshot\n",
        "parent": "s1",
    }
    replay.edit(210, lock="backup", parent="vzdump")


async def _backup_is_stopped(replay: Replay) -> None:
    del replay.world.guests[210].config.snapshots["vzdump"]
    replay.edit(210, lock=None, parent="s1")


async def _backup_is_over(replay: Replay) -> None:
    replay.edit(210, lock=None)


def _holding(*more: tuple[str, str]) -> Setup:
    """The token of single privileges holds others, too."""

    async def setup(replay: Replay) -> None:
        assert isinstance(replay, LaterReplay)
        replay.probe_holds = more

    return setup


async def _exits_is_pulled(replay: Replay) -> None:
    await replay.run_task(
        "POST",
        "/nodes/pve/storage/local/oci-registry-pull",
        "root",
        reference="registry.test:5000/exits:1",
    )


async def _running_311(replay: Replay) -> None:
    await replay.have(311, running=True)


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
    "interfaces-dhcp": _with_dhcp,
    "during-backup-config": _backed_up,
    "backup-stopped-config": _backup_is_stopped,
    "reboot-in-backup": _backed_up,
    "reboot-in-backup-start-later": _backup_is_over,
    "backup-killed-config": _backed_up,
    "sdn-apply": _reload_that_fails,
    "sdn-token-create-1": _no_guests_in_the_network,
    "fw-index": _no_firewall,
    "fw-cluster-ipset-list": _private_networks,
    "fw-group-rules-reversed": _reversed_rules,
    "fw-node-rules": _more_rules_of_the_node,
    "fw-window-options": _stopped_290,
    "oci-pull-wrong-storage": _holding(("Datastore.AllocateTemplate", "/storage/bak")),
    "oci-pull-arm": _holding(),
    "oci-create-exits": _exits_is_pulled,
    "oci-stop-dhcp": _running_311,
}
