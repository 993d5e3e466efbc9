"""What is pasted into agents' configurations."""

import json
import shlex
import tomllib
from typing import Any

import pytest

from pve402.mcp_server import configurations

COMMAND = ["/opt/my tools/pve402", "mcp", "--url", 'https://rent.example.com/"\\']
SERVER = {"command": COMMAND[0], "args": COMMAND[1:]}


@pytest.mark.parametrize("kind", ["claude-desktop", "cursor"])
def test_most_clients_read_the_same_file(kind: Any) -> None:
    made = configurations.of(kind, COMMAND)

    assert json.loads(made.text) == {"mcpServers": {"pve402": SERVER}}


def test_vscode_reads_its_own() -> None:
    made = configurations.of("vscode", COMMAND)

    assert json.loads(made.text) == {"servers": {"pve402": {"type": "stdio", **SERVER}}}
    assert ".vscode/mcp.json" in made.where


def test_codex_reads_toml_and_waits_longer() -> None:
    made = tomllib.loads(configurations.of("codex", COMMAND).text)["mcp_servers"]["pve402"]

    assert made == {**SERVER, "startup_timeout_sec": 30, "tool_timeout_sec": 60}


def test_claude_code_is_told_by_a_command() -> None:
    words = shlex.split(configurations.of("claude-code", COMMAND).text)

    assert words[:3] == ["claude", "mcp", "add"]
    assert words[words.index("--") :] == ["--", *COMMAND]


def test_there_is_one_of_each() -> None:
    made = [configurations.of(kind, COMMAND) for kind in configurations.CLIENTS]

    assert len({one.where for one in made}) == len(made) == 5
