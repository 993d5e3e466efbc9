"""The official MCP client, talking to `pve402 mcp` in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.types import CallToolResult, TextContent

_INHERITED = ("PATH", "LANG", "TMPDIR")


@dataclass(kw_only=True)
class Agent:
    """A client of one `pve402 mcp`, and what it was answered."""

    client: Client
    log: Path
    heard: list[str] = field(default_factory=list)

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool that succeeds; its answer."""
        result = await self.result(tool, **arguments)
        assert not result.is_error, _text(result)
        assert result.structured_content == json.loads(_text(result))
        return dict(result.structured_content)

    async def refused(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool that fails; what it says."""
        result = await self.result(tool, **arguments)
        assert result.is_error, _text(result)
        return dict(json.loads(_text(result)))

    async def result(self, tool: str, **arguments: Any) -> CallToolResult:
        """Call a tool."""
        result = await self.client.call_tool(tool, arguments)
        self.heard.append(result.model_dump_json())
        return result


@contextlib.asynccontextmanager
async def agent(
    url: str,
    home: Path,
    *options: str,
    key: str = "",
    mode: str = "auto",
    program: tuple[str, ...] = ("-m", "pve402"),
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Agent]:
    """An agent whose user has this home; the wallet's key is in the environment."""
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environment |= {"HOME": str(home), **(settings or {})}
    if key:
        environment["PVE402_WALLET_KEY"] = key
    log = home / "mcp.log"
    server = StdioServerParameters(
        command=sys.executable,
        args=[*program, "mcp", "--url", url, *options],
        env=environment,
    )
    with log.open("a") as errors:
        async with Client(stdio_client(server, errlog=errors), mode=mode) as client:
            yield Agent(client=client, log=log)


def _text(result: CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text
