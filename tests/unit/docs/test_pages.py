"""The documentation as a whole: its links lead somewhere, its lists are complete."""

import re
from pathlib import Path

import pytest
from tests.support import pages, project

PAGES = pages.pages()
LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:)([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def _anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as the usual renderers make them."""
    headings = HEADING.findall(path.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_to_a_page_and_a_heading(page: Path) -> None:
    broken = []
    for link in LINK.findall((project.ROOT / page).read_text(encoding="utf-8")):
        target, _, anchor = link.partition("#")
        path = (project.ROOT / page.parent / target) if target else project.ROOT / page
        if not path.exists() or (anchor and anchor not in _anchors(path)):
            broken.append(link)

    assert broken == []


def test_the_readme_names_the_commands_that_matter() -> None:
    readme = (project.ROOT / "README.md").read_text(encoding="utf-8")

    assert {"make demo", "make test"} <= set(re.findall(r"make [a-z]+", readme))


def test_every_target_of_make_that_is_named_exists() -> None:
    makefile = (project.ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony
    named = {
        name
        for page in PAGES
        for name in re.findall(
            r"(?:^ {4}|`)make ([a-z-]+)", (project.ROOT / page).read_text(), re.MULTILINE
        )
    }

    assert named - set(phony[1].split()) == set()


def test_every_decision_is_listed_once() -> None:
    folder = project.ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text(encoding="utf-8")

    listed = re.findall(r"\]\((\d{4}-[^)]+\.md)\)", index)

    assert sorted(listed) == sorted(path.name for path in folder.glob("0*.md"))


def test_the_readme_leads_to_every_page_for_readers() -> None:
    readme = (project.ROOT / "README.md").read_text(encoding="utf-8")
    folders = ("docs/tutorial", "docs/how-to", "docs/reference")

    for_readers = [page for page in PAGES if str(page.parent) in folders]
    missing = [str(page) for page in for_readers if str(page) not in readme]

    assert missing == []
