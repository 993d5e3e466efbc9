"""`pve402 setup`: the commands that it prints, pasted on an empty node, are all that is needed."""

import dataclasses
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.keyboards import Keyboard
from tests.support.pasted import RootShell

from pve402 import bootstrap, config
from pve402.bootstrap import rights
from pve402.ops.checks import findings
from pve402.ops.checks import proxmox as checks
from pve402.proxmox.client import ProxmoxClient, ProxmoxOptions
from pve402.setup import catalogue_text, configuration, firewalling, main
from pve402_devnet.pve import simulator

PAY_TO = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C"
TEMPLATE = "local:vztmpl/busybox-alpine-3.22_1_amd64.tar.gz"
SUBNET = catalogue_text.Subnet(
    subnet="10.77.0.0/24",
    gateway="10.77.0.1",
    ranges=("10.77.0.10-10.77.0.250",),
    nameservers=("9.9.9.9",),
)


def asked(folder: Path, host: str = "pve.example.net", **changes: Any) -> configuration.Asked:
    """A set-up by arguments alone."""
    arguments = (
        f"PVE_HOST={host}",
        "PVE_STORAGE=local",
        f"PVE_OS_TEMPLATE={TEMPLATE}",
        f"PAY_TO={PAY_TO}",
    )
    chosen = {
        "arguments": arguments,
        "env_file": folder / "pve402.env",
        "nodes": ("pve",),
        "sdn": False,
    }
    return configuration.Asked(**{**chosen, **changes})


@pytest.fixture
async def shell(proxmox: simulator.SimulatedProxmox) -> Any:
    """The root shell of the node."""
    options = ProxmoxOptions(
        host=proxmox.base_url, token_id=proxmox.token_id, token_secret=proxmox.token_secret
    )
    async with ProxmoxClient(options) as client:
        yield RootShell(client)


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("--subnet",),
        ("PVE_POOL=leases",),
        ("PVE_TOKEN_ID=a@pve!box",),
        ("PVE_VMID_MIN=500",),
        ("PVE402_SNAPSHOTS=3",),
    ],
    ids=["plain", "isolated", "pool", "other-token", "other-vmids", "snapshots"],
)
async def test_what_is_pasted_gives_the_token_all_its_rights(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox, shell: RootShell, more: tuple[str, ...]
) -> None:
    wish = asked(tmp_path, proxmox.base_url, subnet=SUBNET if more == ("--subnet",) else None)
    settings = [word for word in more if "=" in word]
    wish = dataclasses.replace(wish, arguments=(*wish.arguments, *settings))
    operator = Keyboard()

    assert await main.execute(wish, operator) == 0
    await shell.paste(line for line in operator.lines if "aplinfo" not in line)
    (made,) = [answer for answer in shell.output if isinstance(answer, dict)]
    configuration.keep_secret(wish.env_file, made["value"])

    assert shell.complaints == []
    parts = bootstrap.build(config.load(wish.env_file), makes_key=False)
    found = [*await checks.reached(parts), *await checks.rights(parts), *await checks.nodes(parts)]
    await parts.close()
    assert {one.verdict for one in found} == {findings.Verdict.OK}
    may_take = [role for role, held in proxmox.world.access.roles.items() if "VM.Snapshot" in held]
    assert ("R402SnapshotGuests" in may_take) is ("PVE402_SNAPSHOTS=3" in more)


async def test_pasted_twice_it_changes_nothing(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox, shell: RootShell
) -> None:
    wish = asked(tmp_path, arguments=(*asked(tmp_path).arguments, "PVE_POOL=leases"))
    operator = Keyboard()
    await main.execute(wish, operator)
    lines = [line for line in operator.lines if "aplinfo" not in line]
    await shell.paste(lines)
    known = proxmox.world.access
    before = (
        {name: set(held) for name, held in known.roles.items()},
        {path: dict(held) for path, held in known.rules.items()},
        known.users["pve402@pve"].tokens["service"].secret,
        set(known.pools),
    )

    await shell.paste(lines)

    assert before == (
        {name: set(held) for name, held in known.roles.items()},
        {path: dict(held) for path, held in known.rules.items()},
        known.users["pve402@pve"].tokens["service"].secret,
        set(known.pools),
    )


async def test_it_corrects_a_role_with_other_privileges(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox, shell: RootShell
) -> None:
    proxmox.world.access.roles["R402Storage"] = frozenset({"Datastore.Allocate"})
    operator = Keyboard()
    await main.execute(asked(tmp_path), operator)

    await shell.paste(line for line in operator.lines if "aplinfo" not in line)

    assert proxmox.world.access.roles["R402Storage"] == {"Datastore.AllocateSpace"}


def test_the_files_are_for_their_owner_and_serve(tmp_path: Path) -> None:
    wish = asked(tmp_path, subnet=SUBNET)

    assert main.run(wish, Keyboard()) == 0

    written = sorted(tmp_path.iterdir())
    assert [file.name for file in written] == ["catalogue.toml", "pve402.env"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in written} == {0o600}
    configuration.keep_secret(wish.env_file, "1-2-3")
    settings = config.load(wish.env_file)
    sold = bootstrap.build(settings, makes_key=False).leases.catalogue
    assert [profile.is_isolated for profile in sold.networks_on_sale.values()] == [True]
    assert rights.needs(settings, sold, "pve").bridges == {"vmbr0": "localnetwork"}


def test_repeated_it_changes_no_file_and_asks_nothing(tmp_path: Path) -> None:
    ways = firewalling.Ways(sources=("192.0.2.7",))
    wish = asked(tmp_path, subnet=SUBNET, ways=ways, nodes=("pve=10.99.0.1",))
    main.run(wish, Keyboard())
    configuration.keep_secret(wish.env_file, "1-2-3")
    before = {file: (file.read_text(), file.stat().st_mtime_ns) for file in tmp_path.iterdir()}
    operator = Keyboard(answers={})

    assert main.run(wish, operator) == 0
    less = configuration.Asked(env_file=wish.env_file, nodes=wish.nodes, ways=ways)
    assert main.run(less, operator) == 0

    assert before == {f: (f.read_text(), f.stat().st_mtime_ns) for f in tmp_path.iterdir()}
    assert operator.questions == []


@pytest.mark.parametrize("changed", ["PVE_STORAGE=fast", "PVE_HOST=other.example.net"])
def test_an_existing_file_is_changed_only_by_agreement(tmp_path: Path, changed: str) -> None:
    wish = asked(tmp_path)
    main.run(wish, Keyboard())
    before = wish.env_file.read_text()
    other = asked(tmp_path, arguments=(changed,))

    assert main.run(other, Keyboard()) == main.EXIT_NOT_DONE
    assert main.run(other, Keyboard(answers={}, yes=())) == main.EXIT_NOT_DONE
    assert wish.env_file.read_text() == before

    assert main.run(other, Keyboard(answers={})) == 0
    assert changed in wish.env_file.read_text()


def test_another_subnet_replaces_a_catalogue_only_by_agreement(tmp_path: Path) -> None:
    (tmp_path / "catalogue.toml").write_text("# mine\n")
    wish = asked(tmp_path, subnet=SUBNET)

    assert main.run(wish, Keyboard()) == main.EXIT_NOT_DONE
    assert (tmp_path / "catalogue.toml").read_text() == "# mine\n"
    assert main.run(asked(tmp_path, subnet=SUBNET, may_replace=True), Keyboard()) == 0
    assert "tenants" in (tmp_path / "catalogue.toml").read_text()


def test_at_a_terminal_it_asks_for_what_is_missing_and_for_the_secret(tmp_path: Path) -> None:
    answers = {"PVE_HOST": "pve.example.net", "PAY_TO": PAY_TO, "Nodes": "a, b"}
    answers |= {"Address": "10.99.0.1", "Addresses": "192.0.2.7, 2001:db8::/64"}
    operator = Keyboard(answers=answers, secrets={"`value`": "very-secret"})
    wish = configuration.Asked(env_file=tmp_path / "x.env")

    assert main.run(wish, operator) == 0

    assert len(operator.questions) == 10
    assert "SDN zone" in operator.questions[0]
    assert config.load(wish.env_file).pve_token_secret.get_secret_value() == "very-secret"
    assert "very-secret" not in operator.everything
    assert any("/nodes/b " in line for line in operator.lines)
    assert any("--source 2001:db8::/64 --dport 22,8006 " in line for line in operator.lines)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("PVE_HOST=x",), "PAY_TO=..."),
        (("PVE_TOKEN_SECRET=s3cr3t",), "a secret does not belong on the command line"),
        (("PVE_ROOT_PASSWORD=s3cr3t",), "a secret does not belong on the command line"),
        (("PVE_HOTS=x",), "PVE_HOTS"),
        (("PVE_HOST",), "NAME=VALUE"),
        (("PVE_HOST=x", "PAY_TO=0x12"), "PAY_TO"),
        (("PVE_HOST=x", f"PAY_TO={PAY_TO}", "PVE_VMID_MAX=5"), "PVE_VMID_MAX"),
    ],
)
def test_what_cannot_work_is_said_and_not_written(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    operator = Keyboard()

    status = main.run(asked(tmp_path, arguments=arguments), operator)

    assert status == main.EXIT_NOT_DONE
    assert says in operator.everything
    assert "s3cr3t" not in operator.everything
    assert not (tmp_path / "pve402.env").exists()


@pytest.mark.parametrize("name", ["pve; reboot", "$(reboot)", "pve\nreboot", "", "-x"])
def test_what_is_no_name_of_a_node_gets_into_no_command(tmp_path: Path, name: str) -> None:
    operator = Keyboard()

    assert main.run(asked(tmp_path, nodes=(name,)), operator) == main.EXIT_NOT_DONE
    assert "is not the name of a node" in operator.everything
    assert operator.lines == []


@pytest.mark.parametrize(
    "changes",
    [{"gateway": "10.78.0.1"}, {"ranges": ()}, {"ranges": ("10.77.0.1",)}, {"subnet": '10/8" x'}],
)
def test_a_subnet_that_cannot_work_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    wrong = catalogue_text.Subnet(**{**vars(SUBNET), **changes})
    operator = Keyboard()

    assert main.run(asked(tmp_path, subnet=wrong), operator) == main.EXIT_NOT_DONE
    assert "network.tenants" in operator.everything
    assert list(tmp_path.iterdir()) == []


def run_alone(*words: object) -> subprocess.CompletedProcess[str]:
    """Run the command as a program without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "pve402", *map(str, words)],
        input="root@pam\nsecret\n",
        capture_output=True,
        text=True,
        check=False,
    )


def test_on_the_command_line_commands_go_to_stdout_and_words_to_stderr(tmp_path: Path) -> None:
    wish = asked(tmp_path)

    done = run_alone("setup", *wish.arguments, "--env-file", wish.env_file, "--node", "pve")

    assert done.returncode == 0, done.stderr
    assert {line.split()[0] for line in done.stdout.splitlines()} == {
        "pveam",
        "pveum",
        "pvesh",
        "#",
    }
    assert "PVE_TOKEN_SECRET" in done.stderr


def test_on_the_command_line_a_run_needs_a_terminal(tmp_path: Path) -> None:
    wish = asked(tmp_path)

    done = run_alone("setup", *wish.arguments, "--env-file", wish.env_file, "--run")

    assert (done.returncode, done.stdout) == (main.EXIT_NOT_DONE, "")
    assert "terminal" in done.stderr
    assert not wish.env_file.exists()
