"""Guests whose first program is not an init, as those made of OCI images."""

import dataclasses

import pytest
from devnet.tests.support.guests import expect_soon, spec

from pve402_devnet.guests.runtime import NamespaceRuntime
from pve402_devnet.pve import runtime as pve


def program(entrypoint: str, template: str = "busybox-alpine", **env: str) -> pve.GuestSpec:
    """A guest that runs this."""
    return dataclasses.replace(
        spec(template), entrypoint=entrypoint, environment=tuple(env.items())
    )


async def test_the_entrypoint_runs_with_its_environment(runtime: NamespaceRuntime) -> None:
    wanted = "/bin/sh -c 'echo $GREETING > /root/said; while read line; do :; done'"
    await runtime.start(101, program(wanted, GREETING="hello world", PATH="/bin"))

    said = runtime.disk(101) / "root/said"
    await expect_soon(lambda: said.exists() and said.read_text() == "hello world\n")
    assert await runtime.is_running(101)


async def test_it_ignores_the_request_to_end(runtime: NamespaceRuntime) -> None:
    await runtime.start(101, program("/bin/sleep 1000"))

    assert not await runtime.shutdown(101, 0.1)
    await runtime.stop(101)
    assert not await runtime.is_running(101)


async def test_one_that_catches_the_signal_ends_when_it_is_asked_to(
    runtime: NamespaceRuntime,
) -> None:
    traps = "trap 'exit 0' 15; echo >/root/waits; while :; do sleep 1000 & wait $!; done"
    await runtime.start(101, program(f'/bin/sh -c "{traps}"'))
    await expect_soon((runtime.disk(101) / "root/waits").exists)

    assert await runtime.shutdown(101, 10)
    assert not await runtime.is_running(101)


async def test_the_guest_ends_with_it(runtime: NamespaceRuntime) -> None:
    await runtime.start(101, program("/bin/true"))

    await expect_soon(lambda: 101 not in runtime.running())


async def test_it_may_write_more_than_a_terminal_holds(runtime: NamespaceRuntime) -> None:
    await runtime.start(101, program("/bin/seq 100000"))

    await expect_soon(lambda: 101 not in runtime.running())


@pytest.mark.parametrize(
    ("template", "entrypoint"),
    [("busybox-alpine", "/nosuch --x"), ("noshell", "/bin/sleep 1000"), ("noshell", "sh")],
)
async def test_a_guest_without_the_program_does_not_start(
    runtime: NamespaceRuntime, template: str, entrypoint: str
) -> None:
    with pytest.raises(pve.NoSuchProgramError):
        await runtime.start(101, program(entrypoint, template))

    assert not await runtime.is_running(101)


async def test_a_guest_without_a_shell_waits_and_runs_nothing(runtime: NamespaceRuntime) -> None:
    await runtime.start(101, program("/pause", "noshell"))

    refused = await runtime.exec(101, ["/bin/sh", "-c", "echo here"])

    assert (refused.exit_code, "here" in refused.output) == (127, False)
    assert await runtime.is_running(101)
    assert await runtime.shutdown(101, 10)


async def test_a_guest_without_a_shell_may_end_at_once(runtime: NamespaceRuntime) -> None:
    await runtime.start(101, program("/hello", "noshell"))

    await expect_soon(lambda: 101 not in runtime.running())
