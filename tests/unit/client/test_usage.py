"""What a container used, from the command line: figures and bars."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from tests.support import tenant_service
from tests.unit.client.test_owed import command

from pve402.cli import usage_work

BEGAN = datetime(2026, 11, 29, 12, tzinfo=UTC)
SEEN: list[str] = []


def point(minute: int, **figures: Any) -> dict[str, Any]:
    names = "memoryTotalBytes diskBytes diskTotalBytes diskReadBytesPerSecond"
    names += " diskWriteBytesPerSecond networkInBytesPerSecond networkOutBytesPerSecond"
    return {
        **dict.fromkeys(names.split()),
        "beganAt": (BEGAN + timedelta(minutes=minute)).isoformat(),
        "endedAt": (BEGAN + timedelta(minutes=minute + 1)).isoformat(),
        "cpuFraction": 0.5,
        "memoryBytes": 2**20,
        **figures,
    }


def serving(*points: dict[str, Any]) -> Any:
    async def serve(request: web.Request) -> web.StreamResponse:
        SEEN.append(request.path_qs)
        facts = {"leaseId": tenant_service.LEASE_ID, "ctid": "10000", "points": points}
        return web.json_response({**facts, "timeframe": request.query["timeframe"]})

    SEEN.clear()
    return tenant_service.serving(serve)


async def test_figures_and_bars_are_shown():
    points = (point(0, cpuFraction=0), point(1, cpuFraction=1), point(4, memoryBytes=None))
    async with serving(*points) as service:
        code, printed = await command(service, "usage", "10000", "--timeframe", "day")

    processor, memory = (line.split("  ") for line in printed.splitlines()[1:3])
    assert code == 0, printed
    assert SEEN[-1] == "/lease/10000/usage?timeframe=day"
    assert [word.strip() for word in processor if word.strip()] == [
        *("processor", "50.0%", "50.0%", "100.0%", "100.0%"),
        "▁█",
        "▅",
    ]
    assert "1.0 MB" in " ".join(memory)
    assert "network" not in printed


async def test_json_has_every_point():
    async with serving(point(0), point(1)) as service:
        code, printed = await command(service, "usage", "10000", "--json")

    assert (code, len(json.loads(printed)["points"])) == (0, 2)
    assert SEEN[-1].endswith("?timeframe=hour")


async def test_a_new_container_has_no_figures_yet():
    async with serving() as service:
        code, printed = await command(service, "usage", "10000")

    assert (code, "no figures yet" in printed) == (0, True)


@pytest.mark.parametrize("frame", ["year", "hour&x=y", ""])
async def test_another_time_frame_is_not_asked_for(frame: str):
    async with serving() as service:
        code, printed = await command(service, "usage", "10000", "--timeframe", frame)

    assert (code, SEEN, "hour, day" in printed) == (2, [], True)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, 1e300, "x", [1]])
async def test_what_is_no_figure_is_an_error_and_no_crash(value: Any):
    async with serving(point(0, cpuFraction=value)) as service:
        code, printed = await command(service, "usage", "10000")

    assert code == 1
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("places", "values", "most", "drawn"),
    [
        ([0], [0], 0, "▁"),
        ([0, 1], [0, 8], 8, "▁█"),
        ([0, 0, 1], [0, 8, 4], 8, "▅▅"),
        ([0, 3], [8, None], 8, "█   "),
        ([0, 1], [9, 99], 8, "██"),
    ],
)
def test_a_bar_is_as_high_as_its_value(places, values, most, drawn):
    assert usage_work.chart(places, values, most) == drawn
