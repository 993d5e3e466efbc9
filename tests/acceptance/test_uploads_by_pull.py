"""Large files reach a container over its network, not through its terminal.

Through the terminal of a real host they come at 88 to 207 KB/s.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from collections.abc import Iterator

import pytest
import requests
from devnet.tests.integration.wires.conftest import packets
from tests.support import commands, networked, processes, tap
from tests.support.commands import Container
from tests.support.networked import OUTSIDE, Networked
from tests.support.processes import ServeProcess
from tests.support.tap import Tap

__all__ = ["packets"]

SIZE_BYTES = 2_000_000
DATA = os.urandom(SIZE_BYTES)


@pytest.fixture(scope="module")
def network(packets: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Networked]:
    """Containers with network cards."""
    with networked.running(tmp_path_factory.mktemp("networked")) as made:
        yield made


@pytest.fixture(scope="module")
def line(network: Networked) -> Iterator[Tap]:
    """What goes to Proxmox VE, which every terminal goes through."""
    with tap.on(network.devnet.settings["PVE_HOST"]) as made:
        yield made


@pytest.fixture(scope="module")
def container(network: Networked, line: Tap) -> Iterator[Container]:
    """A container that reaches us."""
    with network.serving(PVE_HOST=line.url) as service:
        yield connected(service)


def connected(service: ServeProcess) -> Container:
    """A container that has its address."""
    made = commands.lease(service)
    wait_for_addresses(made)
    return made


def wait_for_addresses(container: Container) -> None:
    url = f"{container.service.url}/lease/{container.lease_id}"
    asked = {**container.bearer, "Prefer": "wait=30"}
    assert requests.get(url, headers=asked, timeout=60).json()["addresses"]


def put(container: Container, data: bytes = DATA, **headers: str) -> requests.Response:
    return requests.put(
        container.files_url,
        params={"path": "/root/large"},
        data=data,
        headers={**container.bearer, **headers},
        timeout=120,
    )


def test_a_large_upload_does_not_pass_through_the_terminal(container: Container, line: Tap):
    container.run(command="true")
    before = sum(map(len, line.sent))

    answer = put(container)

    assert answer.status_code == 200, answer.text
    assert sum(map(len, line.sent)) - before < SIZE_BYTES / 10
    assert answer.json()["via"] == "network"
    assert answer.json()["bytesPerSecond"] > 0
    digest = hashlib.sha256(DATA).hexdigest()
    assert container.output("sha256sum /root/large").split()[0] == digest


@pytest.mark.parametrize("wrong", ["checksum", "size"])
def test_a_wrong_upload_leaves_what_was_there(container: Container, wrong: str):
    container.output("echo before >/root/large")
    if wrong == "checksum":
        answer = put(container, **{"Content-Digest": f"sha-256=:{'A' * 43}=:"})
        assert answer.status_code == 422
    else:
        with contextlib.suppress(requests.ConnectionError):  # the body ends before its size
            put(container, iter([DATA[:1_000_000]]), **{"Content-Length": str(SIZE_BYTES)})

    assert container.output("cat /root/large; ls -A /root | grep pve402") == "before\n"


#: A program in the place of curl that keeps its link, and uses it up first if it is told to.
SPY = """cat >/usr/local/sbin/curl <<'.' && chmod 755 /usr/local/sbin/curl
#!/bin/sh
for link; do :; done
echo "$link" >/root/link
[ ! -e /root/steal ] || /usr/bin/curl -so /dev/null "$link"
exec /usr/bin/curl "$@"
.
"""


def test_a_link_opens_once_and_only_while_its_upload_waits(container: Container):
    container.output(SPY)
    assert put(container).json()["via"] == "network"
    path = container.output("cat /root/link").strip().removeprefix(f"http://{OUTSIDE}")
    path = path[path.index("/") :]
    assert path.startswith(f"/guest/files/{container.lease_id}.")

    for other in (path, f"/guest/files/l{'0' * 25}.{'A' * 43}", "/guest/files/none"):
        answer = requests.get(f"{container.service.url}{other}", timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (404, "link_unknown")


def test_an_upload_that_somebody_else_fetched_changes_nothing(container: Container):
    container.output(f"{SPY}\necho before >/root/large; touch /root/steal")

    answer = put(container)

    assert (answer.status_code, answer.json()["code"]) == (502, "output_damaged")
    assert container.output("rm /root/steal /usr/local/sbin/curl; cat /root/large") == "before\n"
    assert put(container).json()["via"] == "network"


def test_who_cannot_come_gets_it_through_the_terminal_and_is_not_asked_again(
    network: Networked,
):
    nowhere = f"http://{OUTSIDE}:9"
    with network.serving(listens=False, PVE402_GUEST_URL=nowhere) as service:
        container = connected(service)
        url = f"{service.url}/lease/{container.lease_id}"
        data = b"compresses well " * 50_000

        answers = [put(container, data).json() for _ in range(2)]
        requests.post(f"{url}/reboot", headers=container.bearer, timeout=60).raise_for_status()
        wait_for_addresses(container)
        answers.append(put(container, data).json())

        assert [answer["via"] for answer in answers] == ["terminal"] * 3
        assert container.output("wc -c </root/large") == f"{len(data)}\n"
        assert service.process.said().count("guest_does_not_reach_us") == 2


def test_an_archive_is_fetched_and_unpacked(container: Container):
    made = container.output(
        "mkdir -p /root/out /tmp/in/a && head -c 900000 /dev/urandom >/tmp/in/a/b && "
        "tar -cf - -C /tmp/in . | sha256sum"
    )
    where = f"{container.service.url}/management/archives/{container.ctid}"
    packed = requests.get(
        where, params={"path": "/tmp/in"}, headers=container.bearer, timeout=60
    ).content
    assert hashlib.sha256(packed).hexdigest() == made.split()[0]

    digest = base64.b64encode(hashlib.sha256(packed).digest()).decode()
    answer = requests.put(
        where,
        params={"path": "/root/out"},
        data=packed,
        headers={**container.bearer, "Content-Digest": f"sha-256=:{digest}:"},
        timeout=60,
    )

    assert answer.json()["via"] == "network", answer.text
    assert container.output("cmp /tmp/in/a/b /root/out/a/b; ls -A /root/out") == "a\n"


def test_the_listener_for_uploads_answers_nothing_else(network: Networked, container: Container):
    where = f"http://127.0.0.1:{network.ports[0]}"
    paths = ("/", "/healthz", "/readyz", "/catalogue", "/management/list", "/guest/files/none")
    got = [requests.get(f"{where}{path}", timeout=10) for path in paths]
    sold = requests.post(f"{where}/lease/container", timeout=10)

    assert {answer.status_code for answer in (*got, sold)} == {404}


@pytest.fixture
def at_replica(network: Networked, postgres_server) -> Iterator[Container]:
    """A container whose terminal another replica holds than the one that it reaches.

    It is seen at the one that it reaches.
    """
    url = postgres_server.create_database()
    shared = {
        "DATABASE_URL": url.replace("postgresql+asyncpg", "postgresql"),
        "PVE402_SECRET_KEY": "0123456789abcdef" * 4,
        "PVE402_INSTANCE": hashlib.sha256(url.encode()).hexdigest()[:12],
    }
    with contextlib.ExitStack() as stack:

        def replica(*, listens: bool) -> ServeProcess:
            bind = {"PVE402_PEER_BIND": f"127.0.0.1:{processes.free_port()}"}
            return stack.enter_context(network.serving(at=1, listens=listens, **shared, **bind))

        holder, reached = replica(listens=False), replica(listens=True)
        container = connected(holder)
        assert container.output("echo held") == "held\n"
        assert put(container).json()["via"] == "network"
        yield container.at(reached)


@pytest.mark.postgres
def test_whichever_replica_it_reaches_leads_to_its_upload(at_replica: Container):
    assert put(at_replica).json()["via"] == "network"

    digest = hashlib.sha256(DATA).hexdigest()
    assert at_replica.output("sha256sum /root/large").split()[0] == digest
    unknown = f"{at_replica.service.url}/guest/files/{at_replica.lease_id}.{'A' * 43}"
    assert requests.get(unknown, timeout=30).json()["code"] == "link_unknown"
