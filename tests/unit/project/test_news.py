"""The news fragments that the next changelog is made of."""

import re
import tomllib

from tests.support import project

FRAGMENT = re.compile(r"^\+[a-z0-9-]+\.(?P<kind>[a-z]+)\.md$")


def _kinds() -> set[str]:
    settings = tomllib.loads((project.ROOT / "pyproject.toml").read_text())
    return set(settings["tool"]["towncrier"]["fragment"])


def test_fragments_bear_a_name_and_a_known_kind() -> None:
    names = [path.name for path in (project.ROOT / "newsfragments").iterdir()]
    fragments = [name for name in names if name not in {".gitignore", "README.md"}]

    matches = {name: FRAGMENT.match(name) for name in fragments}

    assert fragments
    assert {name for name, match in matches.items() if not match} == set()
    assert {match["kind"] for match in matches.values() if match} <= _kinds()


def test_fragments_are_sentences() -> None:
    for path in (project.ROOT / "newsfragments").glob("+*.md"):
        text = path.read_text().strip()
        assert text[:1].isupper() or text.startswith("`"), path.name
        assert text.endswith("."), path.name
