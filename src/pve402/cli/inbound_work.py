"""The work on what reaches a container from outside: show it, or choose it."""

from collections.abc import Sequence

import pydantic

from pve402 import client, schemas
from pve402.cli import calls, credentials, terminal


def run(
    url: str,
    token: str | None,
    name: str,
    *,
    allow: Sequence[str] | None,
    close: bool,
    reset: bool,
    as_json: bool,
) -> None:
    """Show what gets in, after changing it if that was asked for."""
    if sum((bool(allow), close, reset)) > 1:
        terminal.misused("give one of --allow, --close and --reset")
    rules = [_rule(text) for text in allow or ()]

    async def shown(service: client.Client) -> schemas.InboundAnswer:
        lease = await client.names.resolve(service, name)
        if not (rules or close or reset):
            return await client.inbound.show(service, lease)
        return await client.inbound.change(service, lease, None if reset else rules)

    terminal.show(calls.run(credentials.holder(url, token), shown), as_json=as_json)


def _rule(text: str) -> schemas.InboundRule:
    source, _, traffic = text.rpartition("=")
    protocol, _, ports = traffic.partition("/")
    try:
        return schemas.InboundRule.model_validate(
            {
                "protocol": protocol,
                "ports": [one for one in ports.split(",") if one],
                "source": source or None,
            }
        )
    except pydantic.ValidationError:
        terminal.misused(f"--allow {text}: must be like tcp/22,80, 203.0.113.0/24=udp/53 or ping")
