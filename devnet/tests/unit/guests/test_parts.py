"""The parts of a guest that need no namespaces."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pve402_devnet.guests import identity, linux, login, plans, removal, rootfs, usage, wire
from pve402_devnet.guests.options import GuestShell, RuntimeOptions
from pve402_devnet.pve.runtime import GuestSpec


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with first, second:
        yield first, second


Pair = tuple[socket.socket, socket.socket]


def test_a_message_arrives_with_its_descriptor(pair: Pair) -> None:
    reader, writer = os.pipe()
    wire.send(pair[0], {"order": "run"}, writer)
    message, descriptor = wire.receive(pair[1])
    assert message == {"order": "run"}
    assert descriptor is not None
    os.write(descriptor, b"x")
    assert os.read(reader, 1) == b"x"
    for number in (reader, writer, descriptor):
        os.close(number)


@pytest.mark.parametrize("data", [b"not json", b"[]", b"\xff", b"[" * 100_000])
def test_what_is_no_message_is_refused(pair: Pair, data: bytes) -> None:
    pair[0].send(data)
    with pytest.raises(wire.WireError):
        wire.receive(pair[1])


def test_a_message_is_bounded_when_it_is_sent(pair: Pair) -> None:
    with pytest.raises(wire.WireError):
        wire.send(pair[0], {"argv": ["x" * wire.MESSAGE_LIMIT]})


def test_the_end_of_the_other_side_is_told(pair: Pair) -> None:
    pair[0].close()
    with pytest.raises(wire.WireClosed):
        wire.receive(pair[1])
    with pytest.raises(wire.WireClosed):
        wire.send(pair[1], {})


def test_a_password_opens_what_it_sealed() -> None:
    sealed = login.seal("correct horse")
    assert login.opens(sealed, b"correct horse")
    assert not login.opens(sealed, b"wrong horse")
    assert "horse" not in sealed
    assert sealed != login.seal("correct horse")
    assert ":" not in sealed


@pytest.mark.parametrize("sealed", ["*", "", "$6$salt$hash"])
def test_nobody_logs_in_without_a_password_of_ours(sealed: str) -> None:
    assert not login.opens(sealed, b"")


def test_without_a_password_the_account_is_locked() -> None:
    assert login.seal("") == "*"


@pytest.mark.parametrize(
    ("template", "shell", "missing"),
    [
        ("local:vztmpl/busybox-alpine-3.22_1_amd64.tar.gz", GuestShell.ASH, ()),
        ("local:vztmpl/debian-12-standard_12.12-1_amd64.tar.zst", GuestShell.BASH, ()),
        ("local:vztmpl/Ubuntu-24.04.tar.zst", GuestShell.BASH, ()),
        ("dash", GuestShell.DASH, ()),
        ("dash-nobase64", GuestShell.DASH, ("base64",)),
        ("bash-nobase64", GuestShell.BASH, ("base64",)),
        ("nobase64", GuestShell.ASH, ("base64",)),
        ("", GuestShell.ASH, ()),
    ],
)
def test_a_template_chooses_the_shell(
    template: str, shell: GuestShell, missing: tuple[str, ...]
) -> None:
    manners = RuntimeOptions(disks="").manners_of(template)
    assert (manners.shell, manners.missing_commands) == (shell, missing)
    assert manners.obeys_shutdown


def spec(template: str, memory_mb: int = 512) -> GuestSpec:
    return GuestSpec(
        node="pve", hostname="ct", template=template, memory_mb=memory_mb, password="horse"
    )


@pytest.mark.parametrize(("memory_mb", "bytes_allowed"), [(16, 256 << 20), (2048, 2048 << 20)])
def test_the_memory_limit_is_the_guests_but_never_too_small(
    memory_mb: int, bytes_allowed: int
) -> None:
    plan = plans.make_plan(RuntimeOptions(disks=""), spec("dash", memory_mb), None, isolated=True)
    assert plan["limits"]["RLIMIT_DATA"] == bytes_allowed
    assert plan["limits"]["RLIMIT_CORE"] == 0


def test_a_plan_does_not_show_its_password() -> None:
    plan = plans.make_plan(RuntimeOptions(disks=""), spec("dash"), None, isolated=True)
    root = rootfs.RootPlan.from_message(plan["root"])
    assert "horse" not in repr(plan)
    assert root.shadow not in repr(root)


@pytest.mark.parametrize(
    ("uid", "owned", "ids"),
    [
        (1000, "0 0 4294967295\n", None),
        (0, "0 0 4294967295\n", (100_000, 65_536)),
        (0, "0 1000 1\n", None),
        (0, "0 1000 1\n1 100000 65536\n", (32_769, 32_768)),
        (0, "0 100000 200000\n", (100_000, 65_536)),
    ],
)
def test_the_ids_of_a_guest_are_some_that_root_owns(
    uid: int,
    owned: str,
    ids: tuple[int, int] | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "uid_map").write_text(owned)
    monkeypatch.setattr(identity, "UID_MAP", tmp_path / "uid_map")
    monkeypatch.setattr(os, "getuid", lambda: uid)
    chosen = identity.choose(100_000)
    assert (chosen and (chosen.first, chosen.count)) == ids


def test_a_missing_busybox_is_named_with_its_package() -> None:
    options = RuntimeOptions(disks="", busybox="no-such-busybox")
    with pytest.raises(RuntimeError, match="busybox-static"):
        plans.make_plan(options, spec("alpine"), None, isolated=True)


def test_an_applet_is_renamed_in_the_table_and_nowhere_else() -> None:
    program = b"usage: base64\0base32\0base64\0basename\0"
    assert rootfs._without_applets(program, ("base64",)) == (
        b"usage: base64\0base32\0base6_\0basename\0"
    )


@pytest.mark.parametrize("refused", [True, False])
def test_proc_is_empty_where_the_host_refuses_a_fresh_one(
    refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = []

    def mount(_source: str, target: str, kind: str, _flags: int, _data: str = "") -> None:
        if refused and kind == "proc":
            raise PermissionError
        kinds.append((target, kind))

    monkeypatch.setattr(linux, "mount", mount)
    rootfs._mount_proc()
    assert kinds == [("/proc", "tmpfs" if refused else "proc")]


def test_a_tree_is_removed_whatever_its_modes_and_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    tree = tmp_path / "tree"
    (tree / "closed" / "deeper").mkdir(parents=True)
    (tree / "closed" / "link").symlink_to(outside)
    (tree / "closed" / "deeper" / "file").touch()
    (tree / "closed" / "deeper").chmod(0)
    (tree / "closed").chmod(0)
    removal.remove_tree(tree)
    removal.remove_tree(tree)
    assert not tree.exists()
    assert (outside / "kept").exists()


def test_the_disk_is_measured_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"x" * 100_000)
    assert 100_000 <= usage.measure_disk(tmp_path) < 200_000
    assert usage.measure_disk(tmp_path / "missing") == 0


def test_a_process_tree_is_measured() -> None:
    assert usage.measure_tree(os.getppid()).memory_bytes > 1 << 20
    assert usage.measure_tree(2**22 + 1) == usage.TreeUsage()
