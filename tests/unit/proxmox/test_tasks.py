"""Waiting for tasks, with a clock that only the waiting moves."""

import asyncio
import json
from itertools import accumulate, islice

import pytest
from tests.support import recordings, scripted_server
from tests.support.scripted_server import Behaviour, ScriptedServer, Step

from pve402.proxmox import errors
from pve402.proxmox.client import ProxmoxClient
from pve402.proxmox.tasks import PollPolicy, TaskEnd, Tasks
from pve402.proxmox.upid import Upid

UPID = Upid.parse("UPID:pve:00001111:000957D5:6B01E906:vzcreate:132:svc@pve!test:")
RUNNING = scripted_server.data('{"status":"running"}')
FAILED_TASKS = [
    recording
    for recording in recordings.load()
    if recording.task and not TaskEnd(exitstatus=recording.task["exitstatus"]).ok
]


class Time:
    """A clock that moves only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def tasks(client: ProxmoxClient, time: Time) -> Tasks:
    return Tasks(client, clock=time.clock, sleep=time.sleep)


def ended(exitstatus: str) -> bytes:
    return scripted_server.data(json.dumps({"status": "stopped", "exitstatus": exitstatus}))


def log(lines: list[str], total: int | None = None) -> bytes:
    rows = [{"n": number, "t": line} for number, line in enumerate(lines, start=1)]
    body = json.dumps({"data": rows, "total": len(rows) if total is None else total})
    return scripted_server.answer(200, "OK", body.encode())


@pytest.mark.parametrize(
    ("exitstatus", "ok", "warnings"),
    [
        ("OK", True, 0),
        ("WARNINGS: 1", True, 1),
        ("WARNINGS: 12", True, 12),
        ("unexpected status", False, 0),
        ("CT is locked (backup)", False, 0),
        ("WARNINGS: many", False, 0),
        ("OKAY", False, 0),
        ("", False, 0),
    ],
)
def test_warnings_are_a_good_end(exitstatus: str, ok: bool, warnings: int) -> None:
    end = TaskEnd(exitstatus=exitstatus)

    assert (end.ok, end.warnings) == (ok, warnings)


async def test_waiting_looks_less_and_less_often(
    server: ScriptedServer, tasks: Tasks, time: Time
) -> None:
    server.script = [RUNNING] * 8 + [ended("OK")]

    end = await tasks.wait_until_finished(UPID, limit_seconds=60)

    assert end.ok
    assert time.slept == list(islice(PollPolicy().pauses(), 8))
    assert time.slept == sorted(time.slept)
    assert time.slept[-1] == 2.0


async def test_a_task_like_earlier_ones_is_looked_at_near_its_usual_end(
    server: ScriptedServer, tasks: Tasks, time: Time
) -> None:
    server.script = [RUNNING] * 8 + [ended("OK")]
    await tasks.wait_until_finished(UPID, limit_seconds=60)
    usual, first_pauses = time.now, list(time.slept)
    server.script = [RUNNING] * 12 + [ended("OK")]

    await tasks.wait_until_finished(UPID, limit_seconds=60)

    def near(pauses: list[float]) -> int:
        return sum(0.6 * usual < look < 0.9 * usual for look in accumulate(pauses))

    assert near(first_pauses) == 1
    assert near(time.slept[len(first_pauses) :]) >= 4


async def test_a_task_that_failed_teaches_nothing(
    server: ScriptedServer, tasks: Tasks, time: Time
) -> None:
    server.script = [RUNNING] * 8 + [ended("broken"), log([])]
    with pytest.raises(errors.TaskFailed):
        await tasks.wait_until_finished(UPID, limit_seconds=60)
    time.slept.clear()
    server.script = [RUNNING, RUNNING, ended("OK")]

    await tasks.wait_until_finished(UPID, limit_seconds=60)

    assert time.slept == list(islice(PollPolicy().pauses(), 2))


async def test_the_upid_is_encoded_in_the_path(server: ScriptedServer, tasks: Tasks) -> None:
    server.script = [ended("OK")]

    await tasks.wait_until_finished(UPID, limit_seconds=60)

    assert "UPID%3Apve%3A00001111%3A000957D5%3A6B01E906%3Avzcreate%3A132%3Asvc%40pve%21test%3A" in (
        server.requests[0].target
    )


async def test_a_task_past_its_limit_times_out(
    server: ScriptedServer, tasks: Tasks, time: Time
) -> None:
    server.script = [RUNNING] * 100

    with pytest.raises(errors.TaskTimeout) as caught:
        await tasks.wait_until_finished(UPID, limit_seconds=5)
    assert caught.value.upid == UPID.text
    assert time.now == 5


async def test_a_task_that_ends_at_the_limit_is_still_seen(
    server: ScriptedServer, tasks: Tasks
) -> None:
    server.script = [RUNNING, ended("OK")]

    end = await tasks.wait_until_finished(UPID, limit_seconds=0.01)

    assert end.ok


@pytest.mark.parametrize("recording", FAILED_TASKS, ids=lambda recording: recording.name)
async def test_a_recorded_failure_keeps_its_words_and_the_end_of_its_log(
    recording: recordings.Recording, server: ScriptedServer, tasks: Tasks
) -> None:
    assert recording.task
    exitstatus, lines = recording.task["exitstatus"], recording.task["log"]
    server.script = [ended(exitstatus)] * (5 if exitstatus == "unexpected status" else 1)
    server.script += [log(lines[:20], len(lines)), log(lines[-20:], len(lines))]

    with pytest.raises(errors.TaskFailed) as caught:
        await tasks.wait_until_finished(UPID, limit_seconds=60)
    assert caught.value.exitstatus == " ".join(exitstatus.split())
    assert caught.value.log_tail == tuple(lines[-20:])


@pytest.mark.parametrize(
    ("exitstatus", "cause", "subject"),
    [
        ("Configuration file 'nodes/pve/lxc/999.conf' does not exist", errors.GuestMissing, "999"),
        ("CT is locked (backup)", errors.GuestLocked, "backup"),
        (
            "can't lock file '/run/lock/lxc/pve-config-109.lock' - got timeout",
            errors.GuestLocked,
            "pve-config-109",
        ),
        (
            "unable to create CT 110 - volume 'local:vztmpl/nosuch_1_amd64.tar.gz' does not exist",
            errors.VolumeMissing,
            "local:vztmpl/nosuch_1_amd64.tar.gz",
        ),
        ("bridge 'vmbr9' does not exist", errors.BridgeMissing, "vmbr9"),
        ("container did not stop", errors.ProxmoxFault, ""),
    ],
)
async def test_a_failed_task_names_its_cause(
    exitstatus: str,
    cause: type[errors.ProxmoxError],
    subject: str,
    server: ScriptedServer,
    tasks: Tasks,
) -> None:
    server.script = [ended(exitstatus), log(["TASK ERROR: " + exitstatus])]

    with pytest.raises(errors.TaskFailed) as caught:
        await tasks.wait_until_finished(UPID, limit_seconds=60)
    assert type(caught.value.cause) is cause
    assert caught.value.cause.subject == caught.value.subject == subject


@pytest.mark.parametrize("unsettled", ["unexpected status", ""])
async def test_an_end_that_is_not_settled_is_looked_at_again(
    unsettled: str, server: ScriptedServer, tasks: Tasks
) -> None:
    server.script = [ended(unsettled), ended(unsettled), ended("OK")]

    end = await tasks.wait_until_finished(UPID, limit_seconds=60)

    assert end.exitstatus == "OK"


async def test_a_killed_worker_is_a_failure(server: ScriptedServer, tasks: Tasks) -> None:
    server.script = [*[ended("unexpected status")] * 5, log([])]

    with pytest.raises(errors.TaskFailed):
        await tasks.wait_until_finished(UPID, limit_seconds=60)
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    "trouble", [scripted_server.answer(596), scripted_server.answer(595)], ids=["596", "595"]
)
async def test_a_look_without_an_answer_does_not_end_the_wait(
    trouble: Step, server: ScriptedServer, tasks: Tasks
) -> None:
    server.script = [trouble, RUNNING, trouble, ended("OK")]

    assert (await tasks.wait_until_finished(UPID, limit_seconds=60)).ok


async def test_a_task_we_may_not_see_ends_the_wait(server: ScriptedServer, tasks: Tasks) -> None:
    server.script = [scripted_server.answer(403, "Permission check failed (/nodes/pve, Sys.Audit)")]

    with pytest.raises(errors.PermissionDenied) as caught:
        await tasks.wait_until_finished(UPID, limit_seconds=60)
    assert caught.value.path == "/nodes/pve"
    assert caught.value.privileges == {"Sys.Audit"}


async def test_a_log_that_cannot_be_read_does_not_hide_the_failure(
    server: ScriptedServer, tasks: Tasks
) -> None:
    server.script = [ended("broken"), Behaviour.DROP, Behaviour.DROP]

    with pytest.raises(errors.TaskFailed) as caught:
        await tasks.wait_until_finished(UPID, limit_seconds=60)
    assert caught.value.log_tail == ()


async def test_the_log_of_an_unknown_task_is_missing(server: ScriptedServer, tasks: Tasks) -> None:
    (recording,) = [found for found in recordings.load() if found.name == "task-log-unknown"]
    server.script = [scripted_server.answer(200, "OK", recording.raw_body)]

    with pytest.raises(errors.TaskMissing):
        await tasks.log(UPID)


@pytest.mark.parametrize(
    ("total", "limit", "pages"),
    [(0, 2000, [500]), (3, 2000, [500]), (1200, 2000, [500] * 3), (1200, 600, [500, 100])],
)
async def test_a_long_log_is_read_by_pages_up_to_a_limit(
    total: int, limit: int, pages: list[int], server: ScriptedServer, tasks: Tasks
) -> None:
    lines = [f"line {number}" for number in range(total)]
    starts = [sum(pages[:number]) for number in range(len(pages))]
    server.script = [
        log(lines[start : start + size], total) for start, size in zip(starts, pages, strict=True)
    ]

    found = await tasks.read_log(UPID, line_limit=limit)

    assert found.lines == tuple(lines[:limit])
    assert found.total == total
    assert [int(request.query["limit"]) for request in server.requests] == pages
    assert [int(request.query["start"]) for request in server.requests] == starts


async def test_a_log_that_promises_more_than_it_gives_ends(
    server: ScriptedServer, tasks: Tasks
) -> None:
    server.script = [log(["a"], 10), log([], 10)]

    assert (await tasks.read_log(UPID)).lines == ("a",)


@pytest.mark.parametrize("limit", [0, -1, 5001])
async def test_a_log_page_is_bounded(limit: int, tasks: Tasks) -> None:
    with pytest.raises(ValueError, match="limit"):
        await tasks.log(UPID, limit=limit)


async def test_more_lines_than_asked_for_are_not_taken(
    server: ScriptedServer, tasks: Tasks
) -> None:
    server.script = [log([str(number) for number in range(100)])]

    page = await tasks.log(UPID, limit=3)

    assert page.lines == ("0", "1", "2")


async def test_active_tasks_leave_out_those_that_ended(
    server: ScriptedServer, tasks: Tasks
) -> None:
    rows = [{"upid": UPID.text, "status": "OK"}, {"upid": UPID.text}]
    server.script = [scripted_server.data(json.dumps(rows))]

    assert await tasks.list_active("pve", 132) == (UPID,)
    assert [request.query["source"] for request in server.requests] == ["active"]
    assert server.requests[0].query["vmid"] == "132"
