"""Examples in the documentation are true: they parse, their names exist, their values are taken."""

import ast
import importlib
import importlib.util
import json
import re
import subprocess
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet
from tests.support import pages

from pve402 import config, schemas
from pve402.domain import catalogue, request

SETTING = re.compile(r"^([A-Z][A-Z0-9_]+)=", re.MULTILINE)

OF_A_NETWORK = re.compile(r"(?<=^RPC_URL)_.+|(?<=^FACILITATOR_URL)_.+")


def _blocks(language: str) -> list[ParameterSet]:
    return [pytest.param(example, id=str(example)) for example in pages.examples(language)]


#: In environments of their own, where the examples run.
_ELSEWHERE = {"e2b"}


def _json_with(*fields: str) -> list[dict[str, object]]:
    """The JSON examples that have all these fields."""
    found = [json.loads(example.text) for example in pages.examples("json")]
    return [document for document in found if set(fields) <= set(document)]


def _is_there(module: str, name: str) -> bool:
    """Whether a module holds that name or a module below it has it."""
    if hasattr(importlib.import_module(module), name):
        return True
    return importlib.util.find_spec(f"{module}.{name}") is not None


@pytest.mark.parametrize("example", _blocks("sh"))
def test_shell_examples_parse(example: pages.Example) -> None:
    parsed = subprocess.run(
        ["bash", "-n"], input=example.text, capture_output=True, text=True, check=False
    )

    assert parsed.stderr == ""


@pytest.mark.parametrize("example", _blocks("python"))
def test_python_examples_import_what_is_there(example: pages.Example) -> None:
    nodes = ast.walk(ast.parse(example.text))
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]

    missing = [
        f"{node.module}.{name.name}"
        for node in imports
        for name in node.names
        if node.module not in _ELSEWHERE and not _is_there(str(node.module), name.name)
    ]

    assert imports
    assert missing == []


@pytest.mark.parametrize("example", [*_blocks("sh"), *_blocks("ini")])
def test_settings_in_examples_exist(example: pages.Example) -> None:
    known = {name.upper() for name in config.Settings.model_fields}
    named = {name for name in SETTING.findall(example.text) if "_" in name}

    assert {name for name in named if OF_A_NETWORK.sub("", name) not in known} == set()


def test_the_readmes_settings_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in config.Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    blocks = [block for block in pages.examples("sh") if block.page == Path("README.md")]
    settings_file = tmp_path / ".env"
    settings_file.write_text(next(block.text for block in blocks if "PAY_TO=" in block.text))

    settings = config.load(settings_file)

    assert settings.public_url == "https://rent.example.com"


def test_examples_of_networks_are_read() -> None:
    shown = [block.text for block in pages.examples("toml") if "[network." in block.text]

    read = [catalogue.parse(f"{catalogue_text()}\n{text}").networks for text in shown]

    assert len(read) >= 4
    assert all(read)


def test_examples_of_a_creation_can_be_sold() -> None:
    sku_catalogue = catalogue.parse(catalogue_text())
    documents = _json_with("sku", "runtimeMinutes", "sshPublicKeys")

    for document in documents:
        wanted = schemas.LeaseRequest.model_validate(document)
        sku = sku_catalogue.sku(wanted.sku)
        request.check_hostname(wanted.hostname)
        request.check_ssh_keys(tuple(wanted.ssh_public_keys))
        assert sku.runtime_minutes.least <= wanted.runtime_minutes <= sku.runtime_minutes.most

    assert documents


def test_examples_of_a_lease_are_answers_of_the_service() -> None:
    documents = _json_with("leaseId", "accessToken")

    answers = [schemas.LeaseAnswer.model_validate(document) for document in documents]

    assert [answer.model_dump(by_alias=True).keys() for answer in answers] == [
        document.keys() for document in documents
    ]


def catalogue_text() -> str:
    """The catalogue that the settings page shows."""
    shown = [block for block in pages.examples("toml") if block.page.name == "settings.md"]
    return next(block.text for block in shown if "[sku." in block.text)
