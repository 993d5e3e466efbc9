"""A clone's SSH host keys are replaced once, by a real ssh-keygen."""

import subprocess
from pathlib import Path

from tests.support import programs

from pve402.guests import host_keys


def make(folder: Path, *types: str) -> dict[str, bytes]:
    """Give an image its keys."""
    for each in types:
        file = folder / f"ssh_host_{each}_key"
        subprocess.run(["ssh-keygen", "-q", "-t", each, "-N", "", "-f", str(file)], check=True)
    return read(folder)


def read(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("ssh_host_*")}


def renew(folder: Path, path: str | None = None, lease_id: str = "one") -> int:
    script = host_keys.renewal(lease_id, str(folder), str(folder))
    environment = None if path is None else {"PATH": path}
    return subprocess.run(["/bin/sh", "-c", script], check=False, env=environment).returncode


def test_each_key_is_another_one_of_its_type(tmp_path: Path):
    before = make(tmp_path, "ed25519", "ecdsa")

    assert renew(tmp_path) == 0

    after = read(tmp_path)
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())
    for name in ("ed25519", "ecdsa"):
        public = subprocess.run(
            ["ssh-keygen", "-y", "-f", str(tmp_path / f"ssh_host_{name}_key")],
            check=True,
            capture_output=True,
        ).stdout.split()[:2]
        assert public == after[f"ssh_host_{name}_key.pub"].split()[:2]
        assert (tmp_path / f"ssh_host_{name}_key").stat().st_mode & 0o777 == 0o600


def test_a_second_time_they_stay(tmp_path: Path):
    make(tmp_path, "ed25519")
    renew(tmp_path)
    once = read(tmp_path)

    assert renew(tmp_path) == 0
    assert read(tmp_path) == once


def test_a_copy_of_a_clone_gets_others(tmp_path: Path):
    make(tmp_path, "ed25519")
    renew(tmp_path)
    once = read(tmp_path)

    assert renew(tmp_path, lease_id="another") == 0
    assert not set(read(tmp_path).values()) & set(once.values())


def test_a_key_of_a_type_that_is_not_made_any_more_goes(tmp_path: Path):
    make(tmp_path, "ed25519")
    (tmp_path / "ssh_host_rsa1_key").write_text("old")

    assert renew(tmp_path) == 0
    assert sorted(read(tmp_path)) == ["ssh_host_ed25519_key", "ssh_host_ed25519_key.pub"]


def test_where_there_is_no_server_nothing_is_done(tmp_path: Path):
    assert renew(tmp_path) == 0
    assert list(tmp_path.iterdir()) == []


def test_keys_that_cannot_be_replaced_are_said(tmp_path: Path):
    before = make(tmp_path, "ed25519")

    assert renew(tmp_path, path=str(tmp_path)) == 4
    assert read(tmp_path) == before


def test_a_server_reads_them_again(tmp_path: Path):
    make(tmp_path, "ed25519")
    waits = ["/bin/sh", "-c", "trap 'exit 7' HUP; echo; while :; do sleep 0.05; done"]
    with programs.started(waits, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        (tmp_path / "sshd.pid").write_text(f"{server.pid}\n")

        assert renew(tmp_path) == 0
        assert server.wait(20) == 7
