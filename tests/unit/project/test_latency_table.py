"""The table of times that the benchmarks give the simulated world."""

import json
import re
import tomllib
from collections.abc import Iterator

import pytest
from tests.bench import slow_world
from tests.support import project

RECORDINGS = project.ROOT / "tests" / "data" / "recordings"


def lines() -> Iterator[tuple[str, float, str]]:
    """Name, seconds and source of each line that names a recording."""
    for name, row in tomllib.loads(slow_world.TABLE.read_text())["proxmox"].items():
        yield name, row["seconds"], row["recorded"]


@pytest.mark.parametrize(("name", "seconds", "source"), list(lines()))
def test_each_line_names_a_recording(name: str, seconds: float, source: str) -> None:
    file, recording, *_ = re.split("[ ,;]", source)

    found = [json.loads(line) for line in (RECORDINGS / file).read_text().splitlines()]

    (own,) = (row for row in found if row["name"] == recording)
    if "waited" in source:
        assert own["task"]["waited_ms"] == pytest.approx(seconds * 1000, abs=1), name
