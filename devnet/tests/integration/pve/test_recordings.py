"""The contract: every exchange recorded on Proxmox VE 9.2, replayed against the simulator.

The exchanges were made in the order of the file, so one simulated world is carried through all of
them. Where a recording's `given` names a state that earlier ones did not leave behind, it is set
up; where lines stand beside their kin instead of in the order of sending, they are sent earlier.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from devnet.tests.integration.pve import replay_states as states
from devnet.tests.support import pve_compare as compare
from devnet.tests.support import pve_replay, pve_rig

from pve402_devnet.pve import SimulatedProxmox

DOCUMENTS = {document["name"]: document for document in pve_replay.load()}
ELSEWHERE = {*states.EXCLUDED, *states.WITH_REAL_SHELLS}
REPLAYED = [name for name in DOCUMENTS if name not in ELSEWHERE]


End = tuple[str | None, list[str]]
"""How a task ended, and its log."""


class Run:
    """What came of the replay, by name."""

    def __init__(self) -> None:
        self.answers: dict[str, pve_replay.Answer] = {}
        self.waiting: dict[str, asyncio.Task[pve_replay.Answer]] = {}
        self.task_ends: dict[str, End] = {}
        self.seconds: dict[str, float] = {}  # of simulated time, for those that were not waited for

    async def play(self, replay: pve_replay.Replay) -> None:
        for name in REPLAYED:
            await self._send_what_came_before(replay, name)
            await self._send(replay, name)
            await self._wait_for_task(replay, name)

    async def _send_what_came_before(self, replay: pve_replay.Replay, name: str) -> None:
        if name in self.answers or name in self.waiting:
            return
        document = DOCUMENTS[name]
        if name in states.SETUPS:
            await states.SETUPS[name](replay)
        await replay.prepare(document["given"])
        for earlier in states.SENT_BEFORE.get(name, ()):
            if callable(earlier):
                await earlier(replay)
            elif earlier in states.NOT_WAITED_FOR:
                self.waiting[earlier] = await self._start_sending(replay, earlier)
            else:
                self.answers[earlier] = await replay.send(DOCUMENTS[earlier])
        if name in states.AFTER_THOSE:
            await states.AFTER_THOSE[name](replay)

    async def _start_sending(
        self, replay: pve_replay.Replay, name: str
    ) -> asyncio.Task[pve_replay.Answer]:
        began = replay.world.clock.now()

        def note(_: object) -> None:
            self.seconds[name] = replay.world.clock.now() - began

        sending = await replay.start_sending(DOCUMENTS[name])
        sending.add_done_callback(note)
        return sending

    async def _send(self, replay: pve_replay.Replay, name: str) -> None:
        if name in self.waiting:
            self.answers[name] = await replay.until(self.waiting.pop(name))
            replay.learn(DOCUMENTS[name], self.answers[name])
        if name in self.answers:
            return
        together = states.TOGETHER.get(name, (name,))
        answers = await replay.send_together([DOCUMENTS[n] for n in together])
        if len(together) > 1:
            answers = _in_recorded_order([DOCUMENTS[n] for n in together], answers)
            for one, answer in zip(together, answers, strict=True):
                replay.learn(DOCUMENTS[one], answer)
        self.answers.update(zip(together, answers, strict=True))

    async def _wait_for_task(self, replay: pve_replay.Replay, name: str) -> None:
        together = states.TOGETHER.get(name, (name,))
        documents = [DOCUMENTS[n] for n in together if "task" in DOCUMENTS[n]]
        upids = [_upid(self.answers[n]) for n in together if n not in self.task_ends]
        ended = [await replay.wait_for_task(upid) for upid in upids if upid and documents]
        ends = [(task.exit_status, list(task.lines)) for task in ended]
        for document in documents:
            if document["name"] not in self.task_ends and ends:
                self.task_ends[document["name"]] = _take_alike(document["task"], ends)


def _upid(answer: pve_replay.Answer) -> str | None:
    data = answer.body.get("data") if isinstance(answer.body, dict) else None
    return data if isinstance(data, str) and data.startswith("UPID:") else None


def _take_alike(recorded: dict[str, Any], ends: list[End]) -> End:
    """Of several workers started at once, take one that ended like the recorded one."""
    alike = (
        e for e in ends if compare.normal(e[0] or "") == compare.normal(recorded["exitstatus"])
    )
    same_log = (e for e in ends if len(e[1]) == len(recorded["log"]))
    chosen = next(same_log, None) or next(alike, ends[0])
    ends.remove(chosen)
    return chosen


def _in_recorded_order(
    documents: list[dict[str, Any]], answers: list[pve_replay.Answer]
) -> list[pve_replay.Answer]:
    """Who wins a race is chance: give each recorded answer one of ours that reads the same."""
    left = list(answers)
    ordered = []
    for document in documents:
        recorded = document["response"]
        same = (a for a in left if not list(compare.status_line_differences(recorded, a)))
        chosen = next(same, left[0])
        left.remove(chosen)
        ordered.append(chosen)
    return ordered


async def _replay_all() -> Run:
    run = Run()
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        SimulatedProxmox(pve_rig.options()) as proxmox,
        aiohttp.ClientSession(connector=connector) as http,
    ):
        replay = pve_replay.Replay(proxmox, http)
        await replay.log_in()
        await run.play(replay)
        replay.close_websockets()
    return run


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    return asyncio.run(_replay_all())


@pytest.mark.parametrize("name", REPLAYED)
def test_answers_as_recorded(run: Run, name: str) -> None:
    recorded, answer = DOCUMENTS[name]["response"], run.answers[name]

    differences = [
        *compare.status_line_differences(recorded, answer),
        *compare.header_differences(recorded, answer),
    ]
    if name in states.COMPARED_BY_SHAPE:
        if compare.shape(recorded["body"]) != compare.shape(answer.body):
            differences.append(f"shape of {answer.body!r}, recorded {recorded['body']!r}")
    elif recorded["status"] not in (None, 101):
        differences += compare.body_differences(recorded["body"], answer.body)

    assert [d for d in differences if not states.is_ignored(name, d)] == []


@pytest.mark.parametrize("name", [n for n in REPLAYED if "task" in DOCUMENTS[n]])
def test_tasks_end_as_recorded(run: Run, name: str) -> None:
    recorded = DOCUMENTS[name]["task"]

    exit_status, lines = run.task_ends[name]

    assert compare.normal(exit_status or "") == compare.normal(recorded["exitstatus"])
    expected = states.without_lines_of_the_rig(recorded["log"])
    if name in states.LOCK_LINES_BY_CHANCE:
        expected = [line for line in expected if line not in states.LOCK_LINES]
        lines = [line for line in lines if line not in states.LOCK_LINES]
    assert list(compare.log_differences(expected, lines)) == []


def test_a_call_for_another_guest_starves_as_recorded(run: Run) -> None:
    """Three changes give up after 10 s; the fourth and the start behind it wait for the lock."""
    second, third, fourth, start = (run.seconds[name] for name in states.NOT_WAITED_FOR)

    recorded = [DOCUMENTS[name]["elapsed_ms"] / 1000 for name in states.NOT_WAITED_FOR]
    assert max(second, third, *recorded[:2]) < 10.1
    assert min(fourth, start, *recorded[2:]) > 12
    assert start < fourth + 0.1


def test_almost_everything_is_replayed(capsys: pytest.CaptureFixture[str]) -> None:
    replayed = len(REPLAYED) + len(states.WITH_REAL_SHELLS)
    share = replayed / len(DOCUMENTS)

    with capsys.disabled():
        print(f"\n{replayed} of {len(DOCUMENTS)} recorded exchanges replayed ({share:.1%});")
        for name, reason in states.EXCLUDED.items():
            print(f"  not {name}: {reason}")

    assert set(DOCUMENTS) >= ELSEWHERE
    assert share >= 0.95
