"""Where a guest goes: by capacity, never by a constant."""

from dataclasses import replace

import pytest

from pve402.domain import errors, lease, placement

SIZE = lease.Size(cores=2, memory_mb=2048, disk_gb=10)
ROOM = placement.NodeRoom(
    node="a", online=True, cores=8, memory_mb=16_384, memory_used_mb=1024, disk_free_gb=100
)
LIMITS = placement.Limits()


def choose(rooms: list[placement.NodeRoom], *promises: placement.Promise, **changes: object) -> str:
    given: dict[str, object] = {"allowed": frozenset(), "limits": LIMITS, **changes}
    return placement.choose_room(rooms, promises, SIZE, **given).node  # type: ignore[arg-type]


def promise(node: str, memory_mb: int = 4096) -> placement.Promise:
    size = lease.Size(cores=1, memory_mb=memory_mb, disk_gb=5)
    return placement.Promise(node=node, size=size, made=False)


def test_the_node_with_the_most_free_memory_is_chosen() -> None:
    other = replace(ROOM, node="b", memory_used_mb=8192)

    assert choose([other, ROOM]) == "a"


def test_promises_count_before_their_guests_exist() -> None:
    other = replace(ROOM, node="b", memory_used_mb=4096)

    assert choose([ROOM, other], promise("a", 12_000)) == "b"


@pytest.mark.parametrize(
    "room",
    [
        replace(ROOM, online=False),
        replace(ROOM, cores=1),
        replace(ROOM, memory_mb=2048),
        replace(ROOM, memory_used_mb=14_000),
        replace(ROOM, disk_free_gb=9),
    ],
)
def test_a_node_without_room_is_passed_over(room: placement.NodeRoom) -> None:
    with pytest.raises(errors.NoCapacity):
        choose([room])


def test_only_the_nodes_of_the_sku_are_used() -> None:
    with pytest.raises(errors.NoCapacity):
        choose([ROOM], allowed=frozenset({"b"}))


@pytest.mark.parametrize(
    "limits",
    [placement.Limits(leases_per_node=1), placement.Limits(memory_mb_per_node=5000)],
)
def test_the_operators_limits_hold(limits: placement.Limits) -> None:
    with pytest.raises(errors.NoCapacity):
        choose([ROOM], promise("a"), limits=limits)


def test_nodes_whose_figures_may_not_be_seen_take_turns_by_leases() -> None:
    blind = [placement.NodeRoom(node=name, online=True) for name in ("a", "b")]

    assert choose(blind, promise("b")) == "a"
    assert choose(blind, promise("a")) == "b"


def disks(node: str, disk_gb: int, *, made: bool = True) -> placement.Promise:
    size = lease.Size(cores=0, memory_mb=0, disk_gb=disk_gb)
    return placement.Promise(node=node, size=size, made=made)


@pytest.mark.parametrize(
    ("room", "promised_gb", "factor", "fits"),
    [
        ({"disk_gb": 217}, 812, 1.0, False),
        ({"disk_gb": 217}, 207, 1.0, True),
        ({"disk_gb": 217}, 208, 1.0, False),
        ({"disk_gb": 217}, 812, 4.0, True),
        ({"disk_gb": 217}, 859, 4.0, False),
        ({"disk_gb": 217}, 100, 0.5, False),
        ({"disk_gb": 20}, 10, 1.0, True),
        ({"disk_gb": 0}, 0, 1.0, False),
        ({"disk_gb": None}, 10_000, 1.0, True),
    ],
)
def test_disks_are_promised_up_to_a_factor(
    room: dict[str, int | None], promised_gb: int, factor: float, fits: bool
) -> None:
    limits = replace(LIMITS, disk_overcommit=factor)

    def place() -> str:
        return choose([replace(ROOM, **room)], disks("a", promised_gb), limits=limits)

    if fits:
        assert place() == "a"
    else:
        with pytest.raises(errors.NoCapacity):
            place()


def test_a_shared_storage_is_promised_once() -> None:
    shared = [replace(ROOM, node=node, disk_gb=50, disk_shared=True) for node in ("a", "b", "c")]
    own = [replace(room, disk_shared=False) for room in shared]
    promised = [disks(node, 15) for node in ("a", "b", "c")]

    assert choose(own, *promised)
    with pytest.raises(errors.NoCapacity):
        choose(shared, *promised)


def test_a_guest_that_comes_back_needs_no_disk() -> None:
    full = replace(ROOM, disk_gb=0, disk_free_gb=0)

    placement.check_return([full], [disks("a", 500, made=False)], SIZE, node="a", limits=LIMITS)

    with pytest.raises(errors.NoCapacity):
        placement.check_return([replace(full, memory_mb=2048)], [], SIZE, node="a", limits=LIMITS)


FAST, SLOW = (replace(ROOM, storage=name) for name in ("fast", "slow"))


def place(rooms: list[placement.NodeRoom], *promises: placement.Promise) -> tuple[str, str]:
    found = placement.choose_room(
        rooms,
        promises,
        SIZE,
        allowed=frozenset(),
        limits=LIMITS,
        storages=("fast", "slow"),
    )
    return found.node, found.storage


@pytest.mark.parametrize(
    ("rooms", "expected"),
    [
        ([SLOW, FAST], ("a", "fast")),
        ([SLOW], ("a", "slow")),
        ([SLOW, replace(FAST, disk_free_gb=9)], ("a", "slow")),
        ([SLOW, replace(FAST, disk_gb=9)], ("a", "slow")),
        ([SLOW, replace(FAST, disk_gb=9, disk_overcommit=2.0)], ("a", "fast")),
        ([replace(SLOW, storage="other"), FAST], ("a", "fast")),
        ([FAST, replace(SLOW, node="b", memory_used_mb=0)], ("b", "slow")),
    ],
)
def test_the_first_storage_that_fits_takes_the_disk(
    rooms: list[placement.NodeRoom], expected: tuple[str, str]
) -> None:
    assert place(rooms) == expected


def test_a_disk_is_promised_on_its_own_storage() -> None:
    full = [replace(FAST, disk_gb=20), replace(SLOW, disk_gb=20)]
    taken = replace(disks("a", 15), storage="fast")

    assert place(full, taken) == ("a", "slow")
    with pytest.raises(errors.NoCapacity):
        place(full, replace(taken, storage=None))  # not recorded: it may be on any


def test_a_disk_that_is_not_made_takes_room_of_a_shared_storage_everywhere() -> None:
    shared = [replace(FAST, node=node, disk_shared=True, disk_free_gb=20) for node in ("a", "b")]

    assert place(shared, disks("b", 10, made=False))[1] == "fast"
    with pytest.raises(errors.NoCapacity):
        place(shared, disks("b", 11, made=False))


def test_a_storage_that_the_sku_does_not_name_is_not_used() -> None:
    with pytest.raises(errors.NoCapacity):
        place([replace(FAST, storage="other")])
