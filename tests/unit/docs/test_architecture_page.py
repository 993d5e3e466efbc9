"""The map of the code names what is there."""

import re

import pytest
from tests.support.project import ROOT

PAGE = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
SOURCE = ROOT / "src" / "pve402"
NAMES = sorted(set(re.findall(r"`([a-z_/]+(?:\.py|\.sh|/))`", PAGE)))


@pytest.mark.parametrize("name", NAMES)
def test_every_place_it_names_is_there(name: str) -> None:
    places = [ROOT / name, SOURCE / name, *SOURCE.glob(f"**/{name}")]

    assert any(place.exists() for place in places)


def test_every_room_is_on_it() -> None:
    rooms = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}

    assert {room for room in rooms if f"`{room}`" not in PAGE} == set()
