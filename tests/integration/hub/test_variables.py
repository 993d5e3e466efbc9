"""Variables are set as `env` sets them, whatever their names, in every shell."""

import pytest
from tests.support import guest_consoles
from tests.support.guest_consoles import shared_hub  # noqa: F401

from pve402.hub.hub import Hub
from pve402.hub.request import ExecRequest
from pve402.proxmox.guests import GuestRef

pytestmark = guest_consoles.SHARING_A_HUB

#: Names that some shell sets itself, keeps to itself, or chokes on.
SHELLS_OWN = {
    "UID": "1000",
    "EUID": "7",
    "PPID": "1",
    "SHELLOPTS": "x",
    "BASHOPTS": "y",
    "BASH_VERSINFO": "z",
    "IFS": "abc",
    "PS4": "+",
    "LINENO": "9",
    "_": "under",
    "s": "one letter",
    "N": "two\nlines",
    "D": "",
    "LC_ALL": "C.UTF-8",
    "LANG": "de_DE.UTF-8",
}
ODD = {"a.b": "1", "A-B": "2", "1x": "3", "ü": "é", "-x": "4", "a b": "5", "%s": "6", "c;d": "'"}


@pytest.mark.parametrize("name", SHELLS_OWN)
async def test_a_command_runs_whatever_a_shell_makes_of_the_name(
    hub: Hub, any_guest: GuestRef, name: str
) -> None:
    request = ExecRequest(command="echo ran; exit 5", env={name: SHELLS_OWN[name]})

    result = await hub.exec(any_guest, request)

    assert (result.stdout, result.stderr, result.exit_code) == (b"ran\n", b"", 5)


async def test_programs_get_names_of_any_form(hub: Hub, any_guest: GuestRef) -> None:
    wanted = SHELLS_OWN | ODD
    request = ExecRequest(argv=("cat", "/proc/self/environ"), env=wanted)

    result = await hub.exec(any_guest, request)

    shown = dict(line.split("=", 1) for line in result.stdout.decode().split("\0")[:-1])
    assert {name: shown.get(name) for name in wanted} == wanted


async def test_they_reach_shell_text_where_its_shell_takes_them(
    hub: Hub, any_guest: GuestRef
) -> None:
    values = {"GREETING": "a 'b' \"c\" $d\n", "Z9_": "%s\\n", "EMPTY": ""}
    request = ExecRequest(command='printf "%s|" "$GREETING" "$Z9_" "${EMPTY-unset}"', env=values)

    assert (await hub.exec(any_guest, request)).stdout == b"a 'b' \"c\" $d\n|%s\\n||"


@pytest.mark.parametrize("user", ["", "nobody"])
async def test_beside_a_user_a_directory_and_arguments(
    hub: Hub, any_guest: GuestRef, user: str
) -> None:
    request = ExecRequest(
        command='printf \'%s|\' "$A" "$PWD" # what for',
        extra_args=("x y",),
        env={"A": "1", "HOME": "/nowhere"},
        cwd="/tmp",
        user=user,
    )

    result = await hub.exec(any_guest, request)

    assert (result.stdout, result.exit_code) == (b"1|/tmp|x y|", 0)


async def test_a_path_of_the_callers_is_searched(hub: Hub, any_guest: GuestRef) -> None:
    make = (
        "mkdir -p /tmp/bin; printf '#!/bin/sh\\necho mine\\n' >/tmp/bin/tool; chmod +x /tmp/bin/*"
    )
    await hub.exec(any_guest, ExecRequest(command=make))
    for request in (
        ExecRequest(argv=("tool",), env={"PATH": "/tmp/bin"}),
        ExecRequest(command="tool", env={"PATH": "/tmp/bin"}),
    ):
        assert (await hub.exec(any_guest, request)).stdout == b"mine\n"
    missing = ExecRequest(argv=("a=b",), env={"PATH": "/tmp/bin"})
    assert (await hub.exec(any_guest, missing)).exit_code == 127
