"""What to paste into an agent's configuration, so that it starts `pve402 mcp`. Never a secret."""

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

Client = Literal["claude-code", "claude-desktop", "codex", "cursor", "vscode"]
CLIENTS: Final[tuple[str, ...]] = get_args(Client)
NAME: Final = "pve402"
#: Codex gives a server 10 s to start and a tool 60 s, by default.
_CODEX_START_SECONDS: Final = 30
_CODEX_TOOL_SECONDS: Final = 60


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A text, and where it goes."""

    text: str
    where: str


def of(kind: Client, command: Sequence[str]) -> Configuration:
    """The configuration of a client for this command line."""
    where, render = _KINDS[kind]
    return Configuration(text=render(list(command)), where=where)


def _claude_code(command: list[str]) -> str:
    return f"claude mcp add --scope user {NAME} -- {shlex.join(command)}"


def _mcp_servers(command: list[str]) -> str:
    return _json({"mcpServers": {NAME: _server(command)}})


def _vscode(command: list[str]) -> str:
    return _json({"servers": {NAME: {"type": "stdio", **_server(command)}}})


def _codex(command: list[str]) -> str:
    # JSON's strings and arrays of strings are TOML's, too
    lines = (
        f"[mcp_servers.{NAME}]",
        f"command = {json.dumps(command[0])}",
        f"args = {json.dumps(command[1:])}",
        f"startup_timeout_sec = {_CODEX_START_SECONDS}",
        f"tool_timeout_sec = {_CODEX_TOOL_SECONDS}",
    )
    return "\n".join(lines)


def _server(command: list[str]) -> dict[str, Any]:
    return {"command": command[0], "args": command[1:]}


def _json(document: Any) -> str:
    return json.dumps(document, indent=2)


_KINDS: Final[dict[str, tuple[str, Callable[[list[str]], str]]]] = {
    "claude-code": ("run this in a terminal", _claude_code),
    "claude-desktop": (
        "put this into claude_desktop_config.json (Settings, Developer, Edit Config)",
        _mcp_servers,
    ),
    "codex": ("put this into ~/.codex/config.toml", _codex),
    "cursor": ("put this into ~/.cursor/mcp.json, or .cursor/mcp.json of a project", _mcp_servers),
    "vscode": (
        "put this into .vscode/mcp.json, or what `MCP: Open User Configuration` opens",
        _vscode,
    ),
}
