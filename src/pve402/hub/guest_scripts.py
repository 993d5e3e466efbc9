"""The hub's own shell scripts, which it runs in guests."""

import functools
from importlib import resources
from typing import Any

from pve402.hub.request import ExecRequest


@functools.cache
def source(name: str, kind: str = "sh") -> str:
    """A script without comments and indentation."""
    text = resources.files("pve402.hub").joinpath("guest", f"{name}.{kind}").read_text("utf-8")
    lines = (line.strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("#"))


def is_ours(request: ExecRequest) -> bool:
    """Whether the hub itself asks for this, for a file or a detached program.

    The words of the command do not tell: a tenant may send the same ones.
    """
    return request.is_ours


def stream(name: str, *arguments: str, **options: Any) -> ExecRequest:
    """Build the request that runs one of our scripts as a stream; `options` are of ExecRequest."""
    options = {"has_variables": False, **options}
    return ExecRequest(argv=("sh", "-c", source(name), "sh", *arguments), **options)


def request(
    name: str,
    *arguments: str,
    stdin: bytes | None = None,
    output_limit_bytes: int = 64 * 1024,
    timeout_seconds: float = 60.0,
    flows: bool = False,
) -> ExecRequest:
    """Build the request that runs one of our scripts with arguments; `name` may be several."""
    text = "\n".join(map(source, name.split()))
    return ExecRequest(
        argv=("sh", "-c", text, "sh", *arguments),
        stdin=stdin,
        output_limit_bytes=output_limit_bytes,
        timeout_seconds=timeout_seconds,
        flows=flows,
        is_ours=True,
        has_variables=False,
    )
