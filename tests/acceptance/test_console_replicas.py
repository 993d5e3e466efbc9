"""Consoles opened at a server that does not hold the guest's terminal, and on old Proxmox VE."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from dotenv import dotenv_values
from tests.acceptance.test_exec_replicas import Pair, start_pair
from tests.support import console_links, processes
from tests.support.console_links import (
    LeaseHolder,
    closing,
    opened,
    read_until,
    ready,
    until_sized,
)
from tests.support.processes import DevnetProcess, ServeProcess

__all__ = ["start_pair"]

pytestmark = pytest.mark.namespaces


@pytest.fixture(scope="module")
def pair(start_pair) -> Pair:
    """Two servers that both live through this module."""
    return start_pair()


@pytest.fixture
def at_other(pair: Pair) -> LeaseHolder:
    """The tenant, at the server that does not hold the terminal."""
    there = pair.at_other
    lease = {"ctid": there.ctid, "leaseId": there.lease_id, "accessToken": there.token}
    return LeaseHolder(service=there.service, lease=lease)


@pytest.mark.postgres
def test_a_terminal_is_served_through_the_holder(pair: Pair, at_other: LeaseHolder):
    with opened(at_other.link("terminal"), columns=77, rows=21) as socket:
        ready(socket)
        socket.send(b"stty size; echo th''ere\r")
        seen = read_until(socket, b"there")
        socket.send('{"resize": {"columns": 66, "rows": 22}}')
        socket.send(until_sized("22 66"))
        read_until(socket, b"22 66 now")

    assert b"21 77" in seen
    assert pair.at_holder.output("echo held") == "held\n"


@pytest.mark.postgres
def test_what_the_holder_refuses_is_refused_here(pair: Pair, at_other: LeaseHolder):
    link = at_other.link("vnc")
    running = pair.at_holder.post(command="sleep 20", detach=False, timeoutSeconds=3)
    with opened(at_other.link("terminal")) as terminal:
        ready(terminal)
        with opened(link) as picture:
            code, told = closing(picture)

    assert running.status_code == 200
    assert (code, told[-1]["exit"]) == (4409, "console_busy")


@pytest.mark.postgres
def test_the_end_of_the_lease_ends_it_at_every_server(start_pair):
    pair = start_pair()
    there = pair.at_other
    lease = {"ctid": there.ctid, "leaseId": there.lease_id, "accessToken": there.token}
    holder = LeaseHolder(service=there.service, lease=lease)
    with opened(holder.link("terminal")) as socket:
        ready(socket)
        url = f"{pair.at_holder.service.url}/lease/{there.lease_id}"
        requests.delete(url, headers=holder.headers, timeout=30).raise_for_status()

        code, _ = closing(socket)

    assert code == 4404


@pytest.fixture(scope="module")
def old_proxmox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    """A server on a Proxmox VE whose consoles refuse API tokens."""
    folder: Path = tmp_path_factory.mktemp("old")
    env_file = folder / "devnet.env"
    options = ("--env-file", str(env_file), "--latency", "0", "--old-proxmox")
    process = processes.start(folder, "devnet", *options)
    try:
        processes.wait_until(env_file.exists, process, "up")
        known = {name: value for name, value in dotenv_values(env_file).items() if value}
        devnet = DevnetProcess(process=process, env_file=env_file, settings=known)
        with processes.serving(folder, devnet) as service:
            yield service
    finally:
        process.end()


def test_old_proxmox_opens_terminals_for_the_console_user(old_proxmox: ServeProcess):
    with opened(console_links.lease_holder(old_proxmox).link("terminal")) as socket:
        ready(socket)
        socket.send(b"echo he''llo\r")

        assert read_until(socket, b"hello")


def test_old_proxmox_opens_pictures(old_proxmox: ServeProcess):
    with opened(console_links.lease_holder(old_proxmox).link("vnc")) as socket:
        ready(socket)

        assert read_until(socket, b"RFB 003.008\n")


def test_a_direct_console_without_the_rights_is_refused_and_told(serve):
    service = serve(PVE_CONSOLE_MODE="direct", PVE_CONSOLE_HOST="https://pve.example.com:8006")

    refused = console_links.lease_holder(service).ask("terminal")

    assert (refused.status_code, refused.json()["code"]) == (503, "direct_console_unavailable")
    assert "Realm.AllocateUser" in service.process.said()
    assert "User.Modify" in service.process.said()
