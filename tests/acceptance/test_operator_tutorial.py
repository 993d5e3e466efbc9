"""The operator's tutorial, typed line by line on a machine that has nothing of ours."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import project
from tests.support.newcomer import machine, script


@pytest.mark.timeout(400)
@pytest.mark.skipif(os.geteuid() != 0, reason="the tutorial makes a user, which only root can")
def test_every_line_works_in_order_up_to_a_paid_lease(tmp_path: Path) -> None:
    if reason := machine.refused():
        pytest.skip(f"this machine gives root no namespaces: {reason}")
    follow = [sys.executable, "-m", "tests.support.newcomer.follow", tmp_path]

    done = subprocess.run(
        machine.command(*follow),
        cwd=project.ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    came_of_it = json.loads(done.stdout.splitlines()[-1])
    user = came_of_it.pop("user")
    assert user > 0
    assert came_of_it == {
        "earned": 5300,
        "mode_of_settings": "0o640",
        "owners_of_state": [user],
        "ran_as": [user],
        "spent": 5300,
        "tags": ["pve402-main"],
    }


def test_every_block_says_where_to_type_it() -> None:
    blocks = script.blocks()

    assert {block.machine for block in blocks} == {script.NODE, script.SERVICE_MACHINE}
    assert "pveum role add" in "".join(block.text for block in blocks)
