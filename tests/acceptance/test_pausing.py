"""A paused container over HTTP: what wakes it is what its tenant chose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from tests.support import commands, pausing, port_names, processes
from tests.support.commands import Container
from tests.support.port_names import Port
from tests.support.processes import DevnetProcess, ServeProcess

USES = ["command", "console", "port"]


@pytest.fixture(scope="module")
def selling(
    devnet: DevnetProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServeProcess]:
    """A server whose containers may be paused, with a domain for ports."""
    folder = tmp_path_factory.mktemp("pausing")
    settings = {"PVE402_CATALOGUE": str(pausing.write_catalogue(folder)), **port_names.SETTINGS}
    with processes.serving(folder, devnet, **settings) as made:
        yield made


@pytest.fixture(scope="module")
def sleeper(selling: ServeProcess) -> Container:
    """A container that everything wakes that may."""
    return commands.lease(selling, wakeOn=USES)


def call(container: Container, path: str, method: str = "POST", **more: Any) -> requests.Response:
    """Ask for something of a lease."""
    url = f"{container.service.url}{path}"
    return requests.request(method, url, headers=container.bearer, timeout=60, **more)


def show(container: Container) -> dict[str, Any]:
    """The lease."""
    shown: dict[str, Any] = call(container, f"/lease/{container.ctid}", "GET").json()
    return shown


def pause(container: Container) -> None:
    """Pause it, and see that it is."""
    paused = call(container, f"/lease/{container.ctid}/pause").json()
    assert (paused["wanted"], paused["vmStatus"]["status"]) == ("paused", "stopped")
    assert paused["paused"]["minuteUsd"] == pausing.RATE


def test_a_command_wakes_it_and_runs(sleeper: Container) -> None:
    pause(sleeper)

    assert sleeper.output("echo awake") == "awake\n"
    assert show(sleeper)["wanted"] == "running"
    assert show(sleeper)["wakeOn"] == USES


def test_a_console_wakes_it(sleeper: Container) -> None:
    pause(sleeper)

    link = call(sleeper, f"/management/console/{sleeper.ctid}", json={"consoleType": "terminal"})

    assert link.status_code == 200
    assert show(sleeper)["vmStatus"]["status"] == "running"


def test_a_private_port_wakes_it_and_a_public_one_does_not(sleeper: Container) -> None:
    private, public = (Port(container=sleeper, port=number) for number in (8080, 8081))
    private.publish()
    public.publish(access="public")
    cookie = private.logged_in()
    pause(sleeper)

    unseen = [public.ask("/"), public.ask("/", headers=public.token), private.ask("/")]
    assert all(one.status_code >= 400 for one in unseen)
    assert show(sleeper)["wanted"] == "paused"

    private.ask("/", headers=cookie)
    assert show(sleeper)["wanted"] == "running"
    pause(sleeper)
    url = f"{sleeper.service.url}/management/http/{sleeper.ctid}/8080/"
    requests.get(url, headers=private.token, timeout=60)
    assert show(sleeper)["wanted"] == "running"


def test_without_the_choice_nothing_but_a_start_wakes_it(selling: ServeProcess) -> None:
    container = commands.lease(selling)
    pause(container)

    assert container.post(command="true").status_code >= 400
    assert show(container)["wanted"] == "paused"
    started = call(container, f"/lease/{container.ctid}/start").json()
    assert started["vmStatus"]["status"] == "running"


def test_a_choice_for_what_cannot_be_paused_is_refused(selling: ServeProcess) -> None:
    body = {**commands.BODY, "sku": "basic-lxc", "wakeOn": ["command"]}

    refused = requests.post(f"{selling.url}/lease/container", json=body, timeout=60)

    assert (refused.status_code, refused.json()["code"]) == (422, "out_of_bounds")
