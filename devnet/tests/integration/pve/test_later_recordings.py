"""Exchanges recorded later on Proxmox VE 9.2: setting up a service, pools, power, disks, cards.

Of the 557 in recordings2.jsonl these are about what the simulator has. They are sent family by
family, each in the order of the file, to one simulated world.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from devnet.tests.integration.pve import later_states, replay_states
from devnet.tests.support import pve_compare as compare
from devnet.tests.support.pve_later_replay import LaterReplay, load, options
from devnet.tests.support.pve_replay import Answer

from pve402_devnet.pve import SimulatedProxmox

DOCUMENTS = {document["name"]: document for document in load()}
FAMILIES = (
    r"setup-(?!pool)",
    r"resize-(?!with-snapshot)|hot-|mp-",
    r"suspend|resume|shutdown-timeout|start-211|reboot$|reboot-after|start-(missing|with|locked)",
    r"stop-locked|protection-",
    r"shutdown-(hangs|waiting|again)|reboot-(hangs|stopped)|stop-(while|overrule)|config-put-while",
    r"setup-pool|pool-|acl-specific",
    r"net-",
    r"start-251|interfaces-dhcp",
    r"storage-(list|status|target)",
    r"feature-|snapshot-|(guest|put)-config|resize-with-snapshot|rollback-",
    r"clone-|delete-clone",
    r"fw-",
    r"sdn-",
    r"during-backup-(?!second|termproxy|task)|backup-stopped-config",
    r"reboot-in-backup",
    r"backup-killed-(config|snap|put|stop|start|delete)",
    r"rrddata-(node|storage|missing|guest-bad)|metrics-|cluster-(log|tasks)-noprivs",
    r"oci-(?!(start|interfaces)-dhcp)",
    r"node-(subscription|services|syslog|journal)|aplinfo",
)
REPLAYED = tuple(name for family in FAMILIES for name in DOCUMENTS if re.match(family, name))
EXCLUDED: Mapping[str, str] = {
    r"oci-": "AppArmor, without which that node could not ask for an address",
    r"vzdump-|backup-|prune|during-backup|reboot-backup": "its backups write nothing",
    r"restore-|create-from-backup": "so there is nothing to restore",
    r"ha-|cluster-ha": "it has no high availability",
    r"rrd(data)?-guest": "figures of a newer kernel's control groups, or a picture",
    r"cluster-(log|options)$|notifications-": "about what was done before on that machine",
    r"node-|download-url|query-url": "about the node's own machine",
    r"storage-(content-btrfs|bak)": "contents that only the recorded machine had",
}
"""What is not replayed, by pattern of its name, with the reason."""

DEVNET = Path(__file__).resolve().parents[3]
TOGETHER = (
    ("resize-parallel-1", "resize-parallel-2"),
    ("snapshot-parallel-1", "snapshot-parallel-2"),
    ("clone-parallel-1", "clone-parallel-2"),
    ("oci-pull-parallel-1", "oci-pull-parallel-2"),
)
OF_THE_IMAGE = re.compile(r"Number of|Total |Literal|Matched|File list|sent |total size")
ORDER_BY_CHANCE = (*TOGETHER[0], "stop-overrule")
"""Whether a worker waits for a lock, and which of its outputs comes first."""

End = tuple[str | None, list[str]]


class Run:
    """What came of the replay, by name."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.task_ends: dict[str, End] = {}

    async def play(self, replay: LaterReplay) -> None:
        for vmid, host in ((210, 60), (211, 61), (240, 70)):
            net0 = f"name=eth0,bridge=vmbr0,firewall=1,gw=10.77.0.1,ip=10.77.0.{host}/24"
            await replay.create(vmid, hostname=f"g{vmid}", swap=0, net0=net0)
        await replay.have(211, running=True)
        await replay.have(240, running=True)
        for name in REPLAYED:
            if name not in self.answers:
                await self._send(replay, name)

    async def _send(self, replay: LaterReplay, name: str) -> None:
        if name in later_states.SETUPS:
            await later_states.SETUPS[name](replay)
        if DOCUMENTS[name]["request"]["params"].get("vmid") == 250:
            await replay.remove(250)
        names = next((names for names in TOGETHER if name in names), (name,))
        answers = await replay.send_together([DOCUMENTS[n] for n in names])
        self.answers.update(zip(names, answers, strict=True))
        ends: list[End] = []
        for one, answer in zip(names, answers, strict=True):
            if DOCUMENTS[one].get("task") and answer.status == 200:
                task = await replay.wait_for_task(answer.body["data"])
                ends.append((task.exit_status, list(task.lines)))
        for one in names if ends else ():
            if recorded := DOCUMENTS[one].get("task"):  # who wins a race is chance
                alike = [end for end in ends if end[0] == recorded["exitstatus"]]
                self.task_ends[one] = (alike or ends)[0]
                ends.remove(self.task_ends[one])


async def _replay_all() -> Run:
    run = Run()
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        SimulatedProxmox(options()) as proxmox,
        aiohttp.ClientSession(connector=connector) as http,
    ):
        replay = LaterReplay(proxmox, http)
        await replay.log_in()
        await run.play(replay)
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
        *compare.body_differences(recorded["body"], answer.body),
    ]

    assert differences == []


@pytest.mark.parametrize("name", [name for name in REPLAYED if DOCUMENTS[name].get("task")])
def test_tasks_end_as_recorded(run: Run, name: str) -> None:
    recorded: dict[str, Any] = DOCUMENTS[name]["task"]
    exit_status, lines = run.task_ends[name]
    expected = replay_states.without_lines_of_the_rig(recorded["log"])
    expected, lines = (
        [line for line in log if not OF_THE_IMAGE.match(line)] for log in (expected, lines)
    )

    if name in ORDER_BY_CHANCE:
        expected, lines = (
            sorted(line for line in log if line not in replay_states.LOCK_LINES)
            for log in (expected, lines)
        )
    assert compare.normal(exit_status or "") == compare.normal(recorded["exitstatus"])
    assert list(compare.log_differences(expected, lines)) == []


def test_what_is_not_replayed_has_a_reason() -> None:
    left_out = [name for name in DOCUMENTS if name not in REPLAYED]

    assert [name for name in left_out if not re.match("|".join(EXCLUDED), name)] == []
    assert [p for p in EXCLUDED if not any(re.match(p, name) for name in left_out)] == []


def test_the_page_on_conformance_has_the_same_exclusions() -> None:
    page = (DEVNET.parent / "docs/conformance.md").read_text(encoding="utf-8")
    part = page.partition("Those left out, by the")[2].partition("The whole life")[0]
    rows = re.findall(r"^\| (`[^|]+`) \| (\d+) \| ([^|]+) \|$", part, re.MULTILINE)
    shown = {reason: (re.findall(r"`([^`]+)`", names), int(n)) for names, n, reason in rows}
    left_out = DOCUMENTS.keys() - set(REPLAYED)

    assert shown.keys() == set(EXCLUDED.values())
    for pattern, reason in EXCLUDED.items():
        begins, count = shown[reason]
        found = {name for name in left_out if re.match(pattern, name)}
        assert len(found) == count
        assert {name for name in found if not name.startswith(tuple(begins))} == set()
    assert sum(count for _, count in shown.values()) == len(left_out)
    assert f"{len(REPLAYED)} of {len(DOCUMENTS)} later" in page
    asked = re.compile(
        r"fw-|net-|interfaces-|sdn-|setup-|pool-|start|stop-|shutdown|reboot$|suspend"
    )
    assert {name for name in left_out if asked.match(name)} == set()


@pytest.mark.parametrize("page", ["README.md", "docs/beside-proxmox.md"])
def test_the_pages_say_how_much_is_replayed(page: str) -> None:
    text = (DEVNET / page).read_text(encoding="utf-8")

    assert len(REPLAYED) == len(set(REPLAYED))
    assert f"{len(DOCUMENTS)} " in text
    assert f"the {len(REPLAYED)} about" in text
