"""What any file of this project may contain."""

import re

import pytest
from tests.support import project

# Written in pieces, so that this file does not offend itself.
REGISTRY = re.compile(
    "|".join(
        [
            r"files\.python" + r"hosted\.org",
            r"pypi" + r"\.org/simple",
            r"registry\.npm" + r"js\.org",
            r"^(--)?(extra-)?index" + r"-url",
            r'"resolved"' + r": *\"https?:",
            r"https?://\S+\.(whl|tgz)\b",
        ]
    )
)
MACHINE_PATH = re.compile(r"/(work|farm)" + r"/(main|steering|in|shared|scratch|\.library)\b")
NUMBERED_REMARK = re.compile(r"(?i)\b(issue|ticket|session|task)\s*#\s*\d+")
LARGEST_KIB = 1500


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(REGISTRY, id="address of a package registry"),
        pytest.param(MACHINE_PATH, id="path of one machine"),
        pytest.param(NUMBERED_REMARK, id="number that means nothing here"),
    ],
)
def test_no_file_names(pattern: re.Pattern[str]) -> None:
    found = [
        f"{file}:{number}: {line.strip()[:100]}"
        for file in project.text_files()
        for number, line in project.numbered_lines(file)
        if pattern.search(line)
    ]

    assert found == []


def test_no_file_is_huge() -> None:
    sizes = {
        str(file): (project.ROOT / file).stat().st_size // 1024 for file in project.tracked_files()
    }

    assert {file: kib for file, kib in sizes.items() if kib > LARGEST_KIB} == {}


def test_no_vendors_files_for_continuous_integration() -> None:
    tops = {file.parts[0] for file in project.tracked_files()}

    assert tops.isdisjoint({".github", ".gitlab-ci.yml", ".circleci", ".travis.yml"})
