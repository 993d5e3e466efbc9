"""A guest is root inside and nobody outside, sees nothing of the host and leaves nothing there."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from devnet.tests.support.guests import expect_soon, spec

from pve402_devnet.guests.options import GuestLimits, RuntimeOptions
from pve402_devnet.guests.runtime import NamespaceRuntime

pytestmark = pytest.mark.namespaces

TEMPLATES = ("busybox-alpine", "dash", "bash")


async def shell(runtime: NamespaceRuntime, script: str, vmid: int = 101) -> str:
    return (await runtime.exec(vmid, ["sh", "-c", script])).output


def host_processes(marker: str) -> list[Path]:
    """Find processes of this machine with a marker in their arguments."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (entry / "cmdline").read_bytes():
                found.append(entry)
        except OSError:
            continue
    return found


def host_has(path: str) -> bool:
    return Path(path).exists()


def names_in(*folders: Path) -> set[str]:
    return {entry.name for folder in folders for entry in folder.iterdir()}


def host_mounts(path: str) -> bool:
    return path in Path("/proc/self/mountinfo").read_text()


def start_victim(disks: Path) -> "subprocess.Popen[str]":
    arguments = [sys.executable, "-c", _VICTIM, str(disks)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("template", TEMPLATES)
async def test_a_guest_is_root_inside_and_unprivileged_outside(
    runtime: NamespaceRuntime, template: str
) -> None:
    await runtime.start(101, spec(template))
    process = asyncio.create_task(runtime.exec(101, ["sleep", "31337.1"]))
    await expect_soon(lambda: bool(host_processes("31337.1")))
    owner = host_processes("31337.1")[0].stat().st_uid
    assert (await shell(runtime, "id -u; id -un")).split() == ["0", "root"]
    assert owner == (100_000 if os.getuid() == 0 else os.getuid())
    assert owner != 0
    process.cancel()


@pytest.mark.parametrize("template", TEMPLATES)
async def test_a_guest_has_no_rights_over_the_machine(
    runtime: NamespaceRuntime, template: str
) -> None:
    await runtime.start(101, spec(template))
    attempts = {
        "mknod": "mknod /tmp/disk b 8 0",
        "clock": "date -s 2001-01-01; date | grep -q 2001",
        "programs": "touch /usr/bin/planted /bin/planted",
        "kernel": "echo 1 > /proc/sys/kernel/panic",
        "limits": "ulimit -Hn 999999",
        "init": "cat /proc/1/environ",
    }
    for name, attempt in attempts.items():
        result = await runtime.exec(101, ["sh", "-c", f"{attempt} 2>/dev/null"])
        allowed = name == "programs" and template == "busybox-alpine"  # /bin is its own there
        assert result.exit_code != 0 or allowed, (name, result.output)
    assert not host_has("/usr/bin/planted")


@pytest.mark.parametrize("template", TEMPLATES)
async def test_a_guest_sees_its_own_processes_only(
    runtime: NamespaceRuntime, template: str
) -> None:
    await runtime.start(101, spec(template))
    await runtime.start(102, spec(template))
    other = asyncio.create_task(runtime.exec(102, ["sleep", "31337.2"]))
    await expect_soon(lambda: bool(host_processes("31337.2")))
    seen = await shell(runtime, "cat /proc/[0-9]*/cmdline; echo; cd /proc; echo [0-9]*")
    assert "31337.2" not in seen
    assert "pytest" not in seen
    assert len(seen.splitlines()[-1].split()) <= 4
    other.cancel()


async def test_the_first_process_cannot_be_killed_or_stopped_from_inside(
    runtime: NamespaceRuntime,
) -> None:
    await runtime.start(101, spec())
    await shell(runtime, "kill -KILL 1; kill -STOP 1")
    assert await shell(runtime, "echo alive") == "alive\n"


@pytest.mark.parametrize("template", TEMPLATES)
async def test_a_guest_sees_no_files_of_the_operator_or_of_another_guest(
    runtime: NamespaceRuntime, template: str, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("operator")
    await runtime.start(101, spec(template))
    await runtime.start(102, spec(template))
    await shell(runtime, "echo neighbour > /root/secret", vmid=102)
    home, tests = Path.home(), Path(__file__).parent
    seen = await shell(
        runtime,
        f"ls -A {home} {home}/.. /home /root /tmp {tests} {tmp_path} /.host; ls -A /; mount",
    )
    listed = {line for line in seen.splitlines() if not line.startswith("ls: ")}
    assert "secret" not in seen
    assert "test_isolation" not in seen
    assert not listed & (names_in(home, home.parent) - names_in(Path("/")))
    assert str(tmp_path) not in await shell(runtime, "mount | grep -v ' / '")


async def test_links_planted_on_the_disk_lead_nowhere_outside(
    runtime: NamespaceRuntime, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o777)
    victim.chmod(0o777)
    await runtime.start(101, spec())
    await shell(runtime, f"rm -rf /etc /run; ln -s {victim} /etc; ln -s {victim} /run")
    await runtime.stop(101)
    await runtime.start(101, spec())
    assert await shell(runtime, "cat /etc/hostname") == "ct\n"
    await runtime.destroy(101)
    assert list(victim.iterdir()) == []


async def test_a_guest_has_no_network_but_its_own_loopback(runtime: NamespaceRuntime) -> None:
    await runtime.start(101, spec("dash"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        interfaces = await shell(runtime, "tail -n +3 /proc/net/dev | cut -d: -f1")
        answer = await runtime.exec(101, ["bash", "-c", f"echo > /dev/tcp/127.0.0.1/{port}"])
    assert interfaces.split() == ["lo"]
    assert answer.exit_code != 0
    assert "refused" in answer.output


@pytest.mark.parametrize("template", TEMPLATES)
async def test_the_environment_is_empty(
    runtime: NamespaceRuntime, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PVE402_SECRET_KEY", "operator")
    await runtime.start(101, spec(template))
    names = {line.partition("=")[0] for line in (await shell(runtime, "env")).splitlines()}
    assert names <= {"PATH", "container", "PWD", "SHLVL", "_", "OLDPWD"}


@pytest.mark.skipif(os.getuid() != 0, reason="an ordinary user has one id to give")
@pytest.mark.skipif(os.getuid() != 0, reason="an ordinary user has one id to give")
@pytest.mark.parametrize("template", TEMPLATES)
async def test_a_guest_has_a_umask_of_its_own(runtime: NamespaceRuntime, template: str) -> None:
    before = os.umask(0o077)
    try:
        await runtime.start(101, spec(template))
    finally:
        os.umask(before)

    assert await shell(runtime, "umask; su -s /bin/sh nobody -c 'cd / && umask'") == "0022\n" * 2


@pytest.mark.parametrize("template", TEMPLATES)
async def test_root_of_a_guest_may_become_another_user_of_it(
    runtime: NamespaceRuntime, template: str
) -> None:
    await runtime.start(101, spec(template))
    script = "su -s /bin/sh nobody -c 'id -u; cat /etc/shadow'"
    result = await runtime.exec(101, ["sh", "-c", script])
    assert result.output.startswith("65534\n")
    assert "denied" in result.output


async def test_keys_of_the_tenant_are_on_the_disk(runtime: NamespaceRuntime) -> None:
    keys = "ssh-ed25519 AAAA tenant\n"
    await runtime.start(101, replace(spec(), ssh_public_keys=keys))
    assert await shell(runtime, "cat /root/.ssh/authorized_keys") == keys


async def test_a_running_guest_is_measured(runtime: NamespaceRuntime) -> None:
    await runtime.start(101, spec())
    await shell(runtime, "head -c 1000000 /dev/zero > /root/big")
    before = await runtime.usage(101)
    await shell(runtime, "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")
    after = await runtime.usage(101)
    assert before is not None
    assert after is not None
    assert after.cpu > 0
    assert 1 << 20 < after.memory_bytes < 64 << 20
    assert 1_000_000 <= after.disk_bytes < 20_000_000
    await runtime.stop(101)
    assert await runtime.usage(101) is None


async def test_the_number_of_processes_is_limited(tmp_path: Path) -> None:
    options = RuntimeOptions(disks=str(tmp_path), limits=GuestLimits(processes=20))
    runtime = NamespaceRuntime(options)
    await runtime.start(101, spec())
    await runtime.start(102, spec())
    bomb = await shell(runtime, "for i in $(seq 40); do sleep 5 & done; echo made")
    assert "fork" in bomb
    assert await shell(runtime, "echo neighbour lives", vmid=102) == "neighbour lives\n"
    await runtime.close()


async def test_files_and_memory_are_limited(tmp_path: Path) -> None:
    limits = GuestLimits(file_bytes=1 << 20, memory_floor_bytes=64 << 20, open_files=32)
    runtime = NamespaceRuntime(RuntimeOptions(disks=str(tmp_path), limits=limits))
    await runtime.start(101, spec())
    await shell(runtime, "head -c 5000000 /dev/zero > /root/big")
    assert (tmp_path / "101/root/big").stat().st_size == 1 << 20
    assert (await shell(runtime, "ulimit -n; ulimit -d")).split() == ["32", str(512 << 10)]
    await runtime.close()


@pytest.mark.parametrize("template", TEMPLATES)
async def test_the_disk_lives_until_it_is_destroyed(
    runtime: NamespaceRuntime, template: str, tmp_path: Path
) -> None:
    await runtime.start(101, spec(template))
    await shell(runtime, "echo kept > /root/file; echo x > /usr/local/y; mkdir -m 0 /root/closed")
    await runtime.stop(101)
    await runtime.start(101, spec(template))
    assert await shell(runtime, "cat /root/file") == "kept\n"
    await runtime.destroy(101)
    await runtime.start(101, spec(template))
    assert await shell(runtime, "ls /root /usr/local") == "/root:\n\n/usr/local:\nbin\nsbin\n"
    await runtime.destroy(101)
    assert list((tmp_path / "disks").iterdir()) == []


async def test_stop_leaves_no_process(runtime: NamespaceRuntime) -> None:
    await runtime.start(101, spec())
    await shell(runtime, "setsid sleep 31337.3 & nohup sleep 31337.3 & trap '' TERM")
    assert host_processes("31337.3")
    await runtime.stop(101)
    assert not host_processes("31337.3")
    assert not await runtime.is_running(101)


async def test_shutdown_ends_a_guest_that_obeys(runtime: NamespaceRuntime) -> None:
    await runtime.start(101, spec())
    assert await runtime.shutdown(101, 10)
    assert not await runtime.is_running(101)


async def test_shutdown_reports_a_guest_that_does_not_obey(runtime: NamespaceRuntime) -> None:
    await runtime.start(101, spec("stubborn"))
    assert not await runtime.shutdown(101, 0.2)
    assert await runtime.is_running(101)
    await runtime.stop(101)
    assert not await runtime.is_running(101)


@pytest.mark.parametrize("template", ["busybox-alpine", "dash"])
async def test_poweroff_and_reboot_inside_mean_what_they_say(
    runtime: NamespaceRuntime, template: str
) -> None:
    await runtime.start(101, spec(template))
    await shell(runtime, "touch /run/before; reboot; sleep 5")
    await expect_soon(lambda: 101 not in runtime.running())
    await expect_soon(lambda: 101 in runtime.running())
    await shell(runtime, "poweroff; sleep 5")
    await expect_soon(lambda: 101 not in runtime.running())


async def test_every_call_may_be_repeated(runtime: NamespaceRuntime) -> None:
    for _ in range(2):
        await runtime.start(101, spec())
    for _ in range(2):
        assert await runtime.shutdown(101, 10)
        await runtime.stop(101)
        await runtime.destroy(101)
    with pytest.raises(RuntimeError, match="CT 101 not running"):
        await runtime.exec(101, ["true"])


async def test_commands_are_missing_where_the_template_says_so(runtime: NamespaceRuntime) -> None:
    for vmid, template in enumerate(("nobase64", "dash-nobase64", "bash-nobase64"), 101):
        await runtime.start(vmid, spec(template))
        console = "command -v base64 || echo none; base64 /dev/null; echo $?"
        name = "bash" if "bash" in template else "sh"
        output = (await runtime.exec(vmid, [name, "-c", console])).output
        assert output.startswith("none\n"), output
        assert output.split()[-1] in ("126", "127")


async def test_kill_9_of_the_runtime_leaves_nothing(tmp_path: Path) -> None:
    program = start_victim(tmp_path)
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "running\n"
        assert len(host_processes("31337.4")) == 2
    finally:
        program.send_signal(signal.SIGKILL)
        program.communicate()
    await expect_soon(lambda: not host_processes("31337.4"))
    await expect_soon(lambda: not host_processes(str(tmp_path)))
    assert not host_mounts(str(tmp_path))


_VICTIM = """
import asyncio, sys
from pve402_devnet.guests.options import RuntimeOptions
from pve402_devnet.guests.runtime import NamespaceRuntime
from pve402_devnet.pve.runtime import GuestSpec

async def main():
    runtime = NamespaceRuntime(RuntimeOptions(disks=sys.argv[1]))
    await runtime.start(101, GuestSpec(node="pve", hostname="ct", template="busybox"))
    await runtime.exec(101, ["sh", "-c", "setsid sleep 3133{0} & sleep 3133{0} &".format("7.4")])
    print("running", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""
