"""How fast uploads reach a container: by each program that it may fetch with, and by terminal."""

import os
import threading
from collections.abc import Iterator

import pytest
import requests
from devnet.tests.integration.wires.conftest import packets
from tests.bench.rows import show
from tests.support import commands, networked
from tests.support.commands import Container

__all__ = ["packets"]

MEGABYTE = 1_000_000
DATA = os.urandom(100 * MEGABYTE)
#: The script tries them in this order.
FETCHERS = ("curl", "wget", "busybox wget", "python3", "perl")
AIM_MBPS = 5.0


@pytest.fixture(scope="module")
def container(packets: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A container that reaches us."""
    with (
        networked.running(tmp_path_factory.mktemp("networked")) as network,
        network.serving() as service,
    ):
        made = commands.lease(service)
        url = f"{service.url}/lease/{made.lease_id}"
        requests.get(url, headers={**made.bearer, "Prefer": "wait=30"}, timeout=60)
        yield made


def put(container: Container, data: bytes) -> tuple[str, float]:
    """The way that an upload took, and MB/s."""
    answer = requests.put(
        container.files_url,
        params={"path": "/root/large"},
        data=data,
        headers=container.bearer,
        timeout=600,
    )
    assert answer.ok, answer.text
    return answer.json()["via"], answer.json()["bytesPerSecond"] / MEGABYTE


def leave_only(container: Container, fetcher: str) -> None:
    """Put a program that fails in the place of each that would be tried before this one."""
    failing = "#!/bin/sh\nexit 1\n"
    first = FETCHERS[: FETCHERS.index(fetcher)] if fetcher != "busybox wget" else ("curl",)
    lines = ["cd /usr/local/sbin && rm -f curl wget python3 perl"]
    names = {one for one in first if " " not in one}
    lines += [f"printf '{failing}' >{name} && chmod 755 {name}" for name in names]
    if fetcher == "busybox wget":
        lines.append("ln -s $(command -v busybox) wget")
    done = container.run(command=" && ".join(lines).replace("\n", "\\n"))
    assert done["exitCode"] == 0, done


@pytest.mark.timeout(900)
def test_every_fetcher_reaches_the_aim(container: Container) -> None:
    rates = {}
    for fetcher in FETCHERS:
        leave_only(container, fetcher)
        via, rates[fetcher] = put(container, DATA)
        assert via == "network"
    for name, rate in rates.items():
        show(
            f"100 MB by the container's network, {name}", f"{rate:.0f} MB/s", f"{AIM_MBPS:.0f} MB/s"
        )
    assert min(rates.values()) >= AIM_MBPS


def test_the_terminal_with_and_without_compression(container: Container) -> None:
    noise, text = os.urandom(500_000), b"the same words again and again\n" * 16_000
    rates = [put(container, data) for data in (noise, text)]
    assert [via for via, _ in rates] == ["terminal", "terminal"]
    show("an upload by the terminal, noise", f"{rates[0][1]:.2f} MB/s")
    show("an upload by the terminal, text that compresses well", f"{rates[1][1]:.2f} MB/s")


@pytest.mark.timeout(900)
def test_several_uploads_at_once(container: Container) -> None:
    leave_only(container, "curl")
    found: list[tuple[str, float]] = []
    threads = [
        threading.Thread(target=lambda: found.append(put(container, DATA[: 20 * MEGABYTE])))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [via for via, _ in found] == ["network"] * 4
    slowest, fastest = min(rate for _, rate in found), max(rate for _, rate in found)
    show("four uploads of 20 MB at once, curl, each", f"{slowest:.0f} to {fastest:.0f} MB/s")
