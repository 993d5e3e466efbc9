"""Which nodes may get a guest: those that are seen to have what it is made of."""

from typing import Any, cast

import pytest

from pve402.leases import cluster
from pve402.proxmox import nodes as pve_nodes
from pve402.proxmox import resources

NODES = ("one", "two", "three")
TEMPLATE = "tpl:vztmpl/debian.tar.zst"


@pytest.mark.parametrize(
    ("storages", "expected"),
    [
        ([], NODES),  # nothing is seen: our token may not
        ([("disks", "one"), ("tpl", "one")], ("one",)),
        ([("disks", node) for node in NODES], NODES),
        ([*(("disks", node) for node in NODES), ("tpl", "two")], ("two",)),
        ([("tpl", "two"), ("tpl", "three")], ("two", "three")),
        ([("disks", "one"), ("tpl", "two")], ()),
        ([("other", "one"), ("other", "two")], NODES),
        ([("disks", "one"), ("disks", "two"), ("tpl", "two"), ("tpl", "three")], ("two",)),
    ],
)
async def test_a_node_is_left_out_only_where_another_shows_what_it_lacks(
    storages: list[tuple[str, str]], expected: tuple[str, ...]
) -> None:
    view = a_view(storages)

    rooms = await view.rooms_for(TEMPLATE)

    assert tuple(room.node for room in rooms) == expected


async def test_a_storage_that_is_away_is_not_there() -> None:
    view = a_view([("disks", "one"), ("disks", "two"), ("tpl", "one")], away={("disks", "one")})

    assert [room.node for room in await view.rooms()] == ["two"]


async def test_a_node_that_failed_is_left_out_for_that_template_and_a_while() -> None:
    now = [0.0]
    view = a_view([], clock=now)

    view.note_unfit("two", TEMPLATE)
    after = [room.node for room in await view.rooms_for(TEMPLATE)]
    of_another = [room.node for room in await view.rooms_for("tpl:vztmpl/alpine.tar.xz")]
    now[0] = 301.0
    later = [room.node for room in await view.rooms_for(TEMPLATE)]

    assert after == ["one", "three"]
    assert of_another == later == list(NODES)


@pytest.mark.parametrize(
    ("changes", "guests", "ours_gb"),
    [
        ({}, [], 60),  # 40 of 100 are taken by others
        ({}, [("one", "pve402-test", 25)], 85),
        ({}, [("one", "pve402-test", 25), ("one", "pve402-other", 10), ("one", "", 5)], 85),
        ({}, [("two", "pve402-test", 25)], 60),
        ({"shared": 1}, [("two", "pve402-test", 25)], 85),
        ({}, [("one", "pve402-test", 90)], 100),
        ({"plugintype": "lvm"}, [("one", "pve402-test", 25)], None),
        ({"maxdisk": None}, [], None),
    ],
)
async def test_what_is_ours_of_a_storage(
    changes: dict[str, Any], guests: list[tuple[str, str, int]], ours_gb: int | None
) -> None:
    disks = {"type": "storage", "node": "one", "storage": "disks", "status": "available"}
    sizes = {"disk": 40 * 2**30, "maxdisk": 100 * 2**30, "plugintype": "lvmthin"}
    rows: list[dict[str, Any]] = [
        {"type": "node", "node": "one", "status": "online"},
        {**disks, **sizes, **changes},
    ]
    rows += [
        {"type": "lxc", "node": node, "vmid": 100 + n, "tags": tag, "disk": used * 2**30}
        for n, (node, tag, used) in enumerate(guests)
    ]
    found = cast("pve_nodes.Nodes", Seen(resources.read(rows)))
    view = cluster.ClusterView(found, storage="disks", fixed_node=None, instance="test")

    (room,) = await view.rooms()

    assert room.disk_gb == ours_gb


class Seen:
    """A cluster that is always the same."""

    def __init__(self, found: resources.ClusterResources) -> None:
        self._found = found

    async def cluster_resources(self) -> resources.ClusterResources:
        return self._found


def a_view(
    storages: list[tuple[str, str]],
    *,
    away: frozenset[tuple[str, str]] | set[tuple[str, str]] = frozenset(),
    clock: list[float] | None = None,
) -> cluster.ClusterView:
    """A view of three nodes with storages, given by name and node."""
    rows: list[dict[str, Any]] = [
        {"type": "node", "node": node, "status": "online"} for node in NODES
    ]
    rows += [
        {
            "type": "storage",
            "node": node,
            "storage": name,
            "status": "unknown" if (name, node) in away else "available",
        }
        for name, node in storages
    ]
    found = cast("pve_nodes.Nodes", Seen(resources.read(rows)))
    now = clock or [0.0]
    return cluster.ClusterView(found, storage="disks", fixed_node=None, clock=lambda: now[0])
