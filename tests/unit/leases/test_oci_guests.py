"""The first program of guests of OCI images, in the shells that images have."""

import os
import shlex
import shutil
import signal
import subprocess
import time

import pytest
from tests.support import programs, recordings

from pve402.leases import oci_guests, whole_clones
from pve402.proxmox import answers, guest_views

SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}


@pytest.fixture(params=[name for name in SHELLS if shutil.which(name)])
def program(request: pytest.FixtureRequest):
    """It, running in a shell."""
    _, *rest = shlex.split(oci_guests.ENTRYPOINT)
    with programs.started([*SHELLS[request.param], *rest]) as running:
        yield running


def _children(pid: int) -> list[int]:
    for _ in range(1000):
        with open(f"/proc/{pid}/task/{pid}/children") as listed:  # noqa: PTH123 -- of the kernel
            if found := [int(child) for child in listed.read().split()]:
                return found
        time.sleep(0.005)
    return []


def test_it_outlives_its_sleep_and_ends_when_asked(program: subprocess.Popen[bytes]):
    (sleeping,) = _children(program.pid)
    os.kill(sleeping, signal.SIGKILL)
    for _ in range(1000):
        if _children(program.pid) != [sleeping]:
            break
        time.sleep(0.005)
    (again,) = _children(program.pid)

    program.send_signal(signal.SIGTERM)

    assert again != sleeping
    assert program.wait(20) == 0
    os.kill(again, signal.SIGKILL)


def test_without_sleep_it_ends(tmp_path):
    _, *rest = shlex.split(oci_guests.ENTRYPOINT)

    ended = subprocess.run(["/bin/sh", *rest], env={"PATH": str(tmp_path)}, timeout=20, check=False)

    assert ended.returncode == 1


def _config(**fields: object) -> guest_views.GuestConfig:
    return guest_views.config(fields, answers.Call(method="GET", path="/config"))


def test_an_app_gets_our_program_and_a_system_keeps_its_own():
    app, system = _config(entrypoint="python3", cmode="console"), _config(cmode="console")

    assert oci_guests.living(app) == {"cmode": "shell", "entrypoint": oci_guests.ENTRYPOINT}
    assert oci_guests.living(system) == {"cmode": "shell"}


def test_a_recorded_guest_of_an_image_is_read():
    (recorded,) = [one for one in recordings.load("recordings2.jsonl") if one.name == "oci-config"]

    config = guest_views.config(recorded.data, answers.Call(method="GET", path=recorded.path))

    assert config.environment["GREETING"] == "hello world"
    assert not oci_guests.has_strange_lines(config)
    assert oci_guests.living(config)["entrypoint"] == oci_guests.ENTRYPOINT
    assert oci_guests.HOST_MANAGED in config.values["net0"].split(",")
    assert whole_clones.strange_in(config, "local:vztmpl/oci-web_1-0123456789ab.tar") == []
    strange = whole_clones.strange_in(config, "local:vztmpl/debian.tar.zst")
    assert strange == ["entrypoint", "env", "lxc"]


@pytest.mark.parametrize(
    ("lines", "is_strange"),
    [
        ([["lxc.init.cwd", "/"], ["lxc.signal.halt", "SIGTERM"], ["lxc.init.uid", "5"]], False),
        ([], False),
        ([["lxc.mount.entry", "/etc etc none bind"]], True),
        ([["lxc.init.cwd"]], True),
        (["lxc.init.cwd"], True),
    ],
)
def test_lines_that_no_image_makes_are_strange(lines: list[object], *, is_strange: bool):
    assert oci_guests.has_strange_lines(_config(lxc=lines)) is is_strange


def test_an_images_variables_are_read():
    config = _config(env="PATH=/bin\0EMPTY=\0WITH=a=b\0nonsense")

    assert config.environment == {"PATH": "/bin", "EMPTY": "", "WITH": "a=b"}
    assert _config().environment == {}


@pytest.mark.parametrize("own", ["hwaddr=BC:24:11:00:00:01", "host-managed=1", "firewall=0"])
def test_what_a_card_gets_by_itself_is_no_difference(own: str):
    assert oci_guests.parts(f"name=eth0,{own},ip=dhcp") == oci_guests.parts("ip=dhcp,name=eth0")
