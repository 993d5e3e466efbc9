"""Hosts that differ from a stock Proxmox VE of today: older ones, and ones with an exec call."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support import commands, processes
from tests.support.processes import DevnetProcess


@pytest.fixture(scope="module")
def host_with_call(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevnetProcess]:
    """A devnet whose Proxmox VE has the exec call."""
    folder = tmp_path_factory.mktemp("devnet-exec")
    with processes.running_devnet(folder, "--exec-api") as made:
        yield made


@pytest.mark.parametrize("mode", ["api", "auto"])
def test_the_exec_call_of_a_host_is_used(host_with_call: DevnetProcess, tmp_path, mode: str):
    with processes.serving(tmp_path, host_with_call, PVE_EXEC=mode) as server:
        container = commands.lease(server)

        fine = container.run(command="uptime", extraArgs=["-p"])
        failed = container.run(command='echo "$A $PWD"; exit 3', env={"A": "it's"}, cwd="/tmp")
        late = container.run(command="echo begun; sleep 60", timeoutSeconds=0.5)

        assert fine["output"].startswith("up ")
        assert (failed["output"], failed["exitCode"]) == ("it's /tmp\n", 3)
        assert (late["timedOut"], late["exitCode"]) == (True, 124)
        opened = server.process.said().count("hub.session_opened")
        assert opened <= (mode == "auto")  # a shell is opened early while the call is not known
        assert container.run(command="cat", stdin="by terminal")["stdout"] == "by terminal"


def test_the_terminal_is_used_where_that_is_asked_for(host_with_call: DevnetProcess, tmp_path):
    with processes.serving(tmp_path, host_with_call, PVE_EXEC="terminal") as server:
        answer = commands.lease(server).run(command="echo out; echo err >&2")

        assert (answer["stdout"], answer["stderr"]) == ("out\n", "err\n")


def test_a_stock_host_is_said_to_lack_the_call(devnet: DevnetProcess, tmp_path):
    with processes.serving(tmp_path, devnet, PVE_EXEC="api") as server:
        reply = commands.lease(server).post(command="id")

        assert (reply.status_code, reply.json()["code"]) == (502, "terminal_unreachable")


@pytest.fixture(scope="module")
def old_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevnetProcess]:
    """A devnet whose consoles refuse API tokens, silently."""
    folder = tmp_path_factory.mktemp("devnet-old")
    with processes.running_devnet(folder, "--old-proxmox") as made:
        yield made


def test_an_old_host_is_entered_as_the_console_user(old_host: DevnetProcess, tmp_path):
    with processes.serving(tmp_path, old_host) as server:
        container = commands.lease(server)

        assert container.output("id -un") == "root\n"
        assert "hub.token_refused_by_termproxy" in server.process.said()
        assert old_host.settings["PVE_CONSOLE_PASSWORD"] not in server.process.said()


def test_an_old_host_without_a_console_user_is_502(old_host: DevnetProcess, tmp_path):
    absent = ("PVE_CONSOLE_USER", "PVE_CONSOLE_PASSWORD")
    with processes.serving(tmp_path, old_host, without=absent) as server:
        reply = commands.lease(server).post(command="id")

        assert (reply.status_code, reply.json()["code"]) == (502, "terminal_unreachable")
