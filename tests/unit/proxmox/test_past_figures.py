"""Past figures of a guest, as recorded and as no Proxmox VE should give them."""

import json
from typing import Any

import pytest
from tests.support import recordings, scripted_server
from tests.support.scripted_server import ScriptedServer

from pve402.proxmox import answers, errors, past_figures
from pve402.proxmox.client import ProxmoxClient
from pve402.proxmox.guests import GuestRef, Guests

CALL = answers.Call(method="GET", path="/nodes/pve/lxc/101/rrddata")
BEGIN = 1_795_287_000


def recorded(file: str, name: str) -> recordings.Recording:
    return next(one for one in recordings.load(file) if one.name == name)


def rows(*figures: dict[str, Any], step: int = 60) -> list[dict[str, Any]]:
    """Points of an hour, one after another."""
    return [{"time": BEGIN + n * step, "cpu": 0, **one} for n, one in enumerate(figures)]


def test_recorded_figures_are_read():
    data = recorded("recordings.jsonl", "rrddata").data

    found = past_figures.read(data, CALL)

    up = [row for row in data if "cpu" in row]
    assert [one.ended_at for one in found] == [row["time"] for row in up]
    assert {one.ended_at - one.began_at for one in found} == {60}
    assert found[0] == past_figures.Figures(
        began_at=BEGIN - 60,
        ended_at=BEGIN,
        cpu_fraction=0,
        memory_used=886101,
        memory_total=134217728,
        disk_used=2498560,
        disk_total=1020702720,
        disk_read_rate=0,
        disk_write_rate=0,
        network_in_rate=2,
        network_out_rate=2,
    )


@pytest.mark.parametrize("name", ["rrddata-guest", "rrddata-guest-max"])
def test_figures_that_we_do_not_know_are_no_matter(name: str):
    found = past_figures.read(recorded("recordings2.jsonl", name).data, CALL)

    assert [one.network_in_rate for one in found] == [10, 13]


@pytest.mark.parametrize(
    "value", [None, "", "x", -1, -0.5, 1e300, 2**70, True, [], {}, "NaN", "inf", "1e400"]
)
def test_what_is_no_figure_is_left_out(value: Any):
    (_, second) = past_figures.read(rows({}, {"mem": value, "netin": 1}), CALL)

    assert (second.memory_used, second.network_in_rate) == (None, 1)


@pytest.mark.parametrize("time", [None, 0, -60, 2**63, 1e300, "soon", True, [1]])
def test_what_is_no_time_is_left_out(time: Any):
    found = past_figures.read([*rows({}, {}), {"time": time, "cpu": 1}], CALL)

    assert len(found) == 2


@pytest.mark.parametrize("data", [None, {}, "x", [1], [None], [[]]])
def test_what_is_no_list_of_points_is_refused(data: Any):
    with pytest.raises(errors.UnexpectedAnswer):
        past_figures.read(data, CALL)


def test_the_newest_points_of_too_many_are_read():
    found = past_figures.read(rows(*[{}] * 5000), CALL)

    assert len(found) == past_figures.MOST_INTERVALS
    assert found[-1].ended_at == BEGIN + 4999 * 60


def test_a_point_alone_began_nobody_knows_when():
    (only,) = past_figures.read(rows({}), CALL)

    assert only.began_at < 0


def test_points_from_before_an_upgrade_are_as_long_as_they_are_apart():
    old = [{"time": BEGIN + n * 1800, "cpu": 0} for n in range(3)]
    new = [{"time": BEGIN + 3000 + n * 60, "cpu": 0} for n in range(20)]

    found = past_figures.read(old + new, CALL)

    lengths = [one.ended_at - one.began_at for one in found]
    assert lengths == [1800] * 3 + [60] * (len(found) - 3)
    assert [one.ended_at for one in found] == sorted({one.ended_at for one in found})


@pytest.fixture
def guests(client: ProxmoxClient) -> Guests:
    return Guests(client)


async def test_a_time_frame_is_asked_for(server: ScriptedServer, guests: Guests):
    server.script = [scripted_server.data(json.dumps(rows({}, {})))]

    found = await guests.past_figures(GuestRef(node="pve", vmid=101), "week")

    (request,) = server.requests
    assert (request.method, request.path) == ("GET", "/api2/json" + CALL.path)
    assert (request.query, len(found)) == ({"timeframe": "week"}, 2)


def test_a_guest_without_figures_has_an_error_of_its_own():
    recording = recorded("recordings2.jsonl", "rrddata-missing")
    answer = answers.Answer(status=500, reason=recording.reason, body=recording.raw_body)

    with pytest.raises(errors.FiguresMissing) as caught:
        answers.read(answer, CALL)

    assert caught.value.vmid == 999
