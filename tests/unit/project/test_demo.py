"""What the demo shows, and how it ends."""

import asyncio
import contextlib
from pathlib import Path

from scripts.demo import outside, stage

STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.05; done"


def test_amounts_are_shown_in_full():
    assert outside.dollars("2640") == "0.002640 USDC"


async def test_a_part_that_will_not_end_is_killed_also_when_the_demo_is_interrupted(tmp_path: Path):
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", STUBBORN, stdout=asyncio.subprocess.PIPE
    )
    part = stage.Part(name="stubborn", process=process, log=tmp_path / "log")
    assert process.stdout is not None
    await process.stdout.readline()

    async def play() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await part.end(0.01)

    playing = asyncio.create_task(play())
    await asyncio.sleep(0)
    playing.cancel()
    await asyncio.wait({playing})
    ended_with = process.returncode
    with contextlib.suppress(ProcessLookupError):
        process.kill()

    assert ended_with == -9
