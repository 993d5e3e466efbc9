"""The benchmark of first commands, in its smallest form: it measures what it says."""

import sys
from pathlib import Path

from tests.bench import first_command, ways


def test_a_burst_of_clones_is_measured_until_its_cards_are_on(tmp_path: Path) -> None:
    ours = first_command.Side(name="ours", python=sys.executable)
    way = ways.Way(name="linked clone", links=True)
    phase = first_command.Phase(way=way, number=2, is_burst=True)

    commands, packets = first_command.compare(tmp_path, [ours], [phase])

    answered, passed = ours.seconds.values()
    assert ours.refused == []
    assert len(answered) == len(passed) == 2
    assert all(later >= first for first, later in zip(answered, passed, strict=True))
    assert commands.what == "paid request to the first command's answer, linked clone, 2 at once"
    assert packets.what.startswith("paid request to the first packet")
