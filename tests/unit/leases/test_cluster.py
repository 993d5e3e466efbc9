"""Which nodes may get a guest: those that are seen to have what it is made of."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest
import sqlalchemy as sa

from pve402.leases import cluster
from pve402.proxmox import nodes as pve_nodes
from pve402.proxmox import resources
from pve402.proxmox import storage as pve_storage
from pve402.storage import database

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


async def test_a_node_that_is_down_is_away_though_no_storage_is_shown() -> None:
    rows = [
        {"type": "node", "node": "one", "status": "offline"},
        {"type": "node", "node": "two", "status": "online"},
    ]
    found = cast("pve_nodes.Nodes", Seen(resources.read(rows)))
    view = cluster.ClusterView(found, storages=lambda: {"disks": None}, fixed_node=None)
    await view.rooms()

    assert [view.is_away(node, "disks") for node in ("one", "two", "gone")] == [True, False, False]


async def test_a_nodes_cores_are_known_once_it_is_seen() -> None:
    view = a_view([])
    before = view.cores_of("one")

    await view.rooms()

    assert before is None
    assert view.cores_of("one") == 8
    assert view.cores_of("nowhere") is None


@pytest.mark.parametrize(
    ("sizes", "storage", "status", "lends"),
    [
        ((7, 7), "shared rbd", "online", True),
        ((7, None), "shared rbd", "online", True),  # that node was not asked yet
        ((None, 7), "shared rbd", "online", True),
        ((0, 7), "shared rbd", "online", False),  # the image's node has lost it: which was it?
        ((7, 8), "shared rbd", "online", False),
        ((7, 7), "local rbd", "online", False),
        ((7, 7), "shared btrfs", "online", False),  # no two nodes can mount one
        ((7, 7), "shared rbd", "offline", False),
    ],
)
async def test_an_image_serves_nodes_that_share_its_storage_and_show_its_template(
    sizes: tuple[int | None, int | None], storage: str, status: str, lends: bool
) -> None:
    marked, kind = storage.split()
    rows: list[dict[str, Any]] = [
        {"type": "node", "node": "one", "status": status},
        {"type": "node", "node": "two", "status": "online"},
    ]
    found = cast("pve_nodes.Nodes", Seen(resources.read(rows)))
    view = cluster.ClusterView(found, storages=lambda: {"disks": None}, fixed_node=None)
    view.note_storage("two", told("disks", kind, is_shared=marked == "shared"))
    for node, size in zip(("one", "two"), sizes, strict=True):
        if size is not None:
            view.note_templates(node, frozenset(), [shows(TEMPLATE, size)] if size else [])
    await view.fresh()

    assert view.can_lend("one", "two", "disks", TEMPLATE) is lends
    assert not view.can_lend("one", "two", None, TEMPLATE)


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
    view = cluster.ClusterView(
        found, storages=lambda: {"disks": None}, fixed_node=None, instance="test"
    )

    (room,) = await view.rooms()

    assert room.disk_gb == ours_gb


async def test_a_disk_is_ours_on_the_storage_that_its_lease_names() -> None:
    storage = {"type": "storage", "node": "one", "status": "available", "plugintype": "lvmthin"}
    sizes = {"disk": 80 * 2**30, "maxdisk": 100 * 2**30}
    guest = {"type": "lxc", "node": "one", "tags": "pve402-test", "disk": 30 * 2**30}
    rows: list[dict[str, Any]] = [
        {"type": "node", "node": "one", "status": "online"},
        *({**storage, **sizes, "storage": name} for name in ("fast", "slow")),
        *({**guest, "vmid": vmid} for vmid in (100, 101, 102)),
    ]
    found = cast("pve_nodes.Nodes", Seen(resources.read(rows)))
    view = cluster.ClusterView(
        found, storages=lambda: {"fast": None, "slow": None}, fixed_node=None, instance="test"
    )
    db = Reads()
    db.storages = [(100, "fast"), (101, "fast")]

    unknown = {room.storage: room.disk_gb for room in await view.rooms()}
    await view.promises(db.database)
    kind = view.storage_type("one", "fast")  # as seen last, until the rooms are counted again
    known = {room.storage: room.disk_gb for room in await view.rooms()}

    assert kind == "lvmthin"
    assert unknown == {"fast": 20, "slow": 20}
    assert known == {"fast": 80, "slow": 20}


TWO_DISKS = [("fast", "one"), *(("slow", node) for node in NODES)]


async def test_each_storage_of_a_node_is_a_room() -> None:
    view = a_view(TWO_DISKS, disks={"fast": 2.0, "slow": None})

    places = [(room.node, room.storage, room.disk_overcommit) for room in await view.rooms()]

    assert places == [
        ("one", "fast", 2.0),
        ("one", "slow", None),
        ("two", "slow", None),
        ("three", "slow", None),
    ]


async def test_a_storage_that_nobody_shows_is_nowhere_if_another_is_shown() -> None:
    view = a_view([("slow", "two")], disks={"fast": None, "slow": None})

    assert [(room.node, room.storage) for room in await view.rooms()] == [("two", "slow")]


async def test_rooms_follow_the_storages_of_the_catalogue() -> None:
    disks: dict[str, float | None] = {"slow": None}
    view = a_view(TWO_DISKS, disks=disks)
    before = await view.rooms()

    disks["fast"] = None

    assert len(before) == 3
    assert len(await view.rooms()) == 4


async def test_a_guest_that_failed_on_one_storage_may_go_to_another() -> None:
    view = a_view(TWO_DISKS, disks={"fast": None, "slow": None})

    view.note_unfit("one", TEMPLATE, "fast")

    places = [(room.node, room.storage) for room in await view.rooms_for(TEMPLATE)]
    assert places == [("one", "slow"), ("two", "slow"), ("three", "slow")]


async def test_a_node_without_the_template_gets_no_guest_of_it() -> None:
    view = a_view([])

    view.note_templates("two", frozenset({TEMPLATE}))
    before = [room.node for room in await view.rooms_for(TEMPLATE)]
    of_another = [room.node for room in await view.rooms_for("tpl:vztmpl/alpine.tar.xz")]
    view.note_templates("two", frozenset())

    assert before == ["one", "three"]
    assert of_another == [room.node for room in await view.rooms_for(TEMPLATE)] == list(NODES)


async def test_a_template_that_nobody_shows_may_be_anywhere() -> None:
    view = a_view([])

    for node in NODES:
        view.note_templates(node, frozenset({TEMPLATE}))

    assert [room.node for room in await view.rooms_for(TEMPLATE)] == list(NODES)


async def test_a_node_in_maintenance_gets_no_guest() -> None:
    rows: list[dict[str, Any]] = [
        {"type": "node", "node": "one", "status": "online", "hastate": "maintenance"},
        {"type": "node", "node": "two", "status": "online", "hastate": "online"},
        {"type": "node", "node": "three", "status": "offline"},
    ]
    found = cast("pve_nodes.Nodes", Seen(resources.read(rows)))
    view = cluster.ClusterView(found, storages=lambda: {"disks": None}, fixed_node=None)

    assert [room.node for room in await view.rooms() if room.online] == ["two"]


async def test_promises_are_read_once_for_all_who_ask_together() -> None:
    view, db = a_view([]), Reads()

    asked = await asyncio.gather(*(view.promises(db.database) for _ in range(50)))

    assert db.reads == 1
    assert all(one is asked[0] for one in asked)
    assert view.drained == {"two"}


class Reads:
    """A database that counts the times it is read; all queries find one row, a node's name."""

    reads = 0
    storages: Sequence[tuple[object, ...]] = ()  # by vmid

    @property
    def database(self) -> database.Database:
        return cast("database.Database", self)

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator["Reads"]:
        self.reads += 1
        await asyncio.sleep(0.01)
        yield self

    async def run(self, query: sa.Select[Any]) -> Sequence[tuple[object, ...]]:
        return self.storages if len(query.selected_columns) == 2 else []

    async def execute(self, _query: object) -> "Reads":
        return self

    def scalars(self) -> list[str]:
        return ["two"]


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
    disks: dict[str, float | None] | None = None,
) -> cluster.ClusterView:
    """A view of three nodes with storages, given by name and node."""
    rows: list[dict[str, Any]] = [
        {"type": "node", "node": node, "status": "online", "maxcpu": 8} for node in NODES
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
    wanted = {"disks": None} if disks is None else disks
    return cluster.ClusterView(
        found, storages=lambda: dict(wanted), fixed_node=None, clock=lambda: now[0]
    )


def told(name: str, kind: str, *, is_shared: bool) -> pve_storage.StorageStatus:
    """What a node says of one of its storages."""
    return pve_storage.StorageStatus(
        storage=name,
        type=kind,
        active=True,
        enabled=True,
        shared=is_shared,
        content=frozenset({"rootdir"}),
        used=None,
        total=None,
        available=None,
    )


def shows(volume: str, size_bytes: int) -> pve_storage.Template:
    """A template as a node shows it."""
    return pve_storage.Template(volid=volume, size_bytes=size_bytes, created_at=None)
