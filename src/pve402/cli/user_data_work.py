"""The work on scripts that run once in new containers: read one, show what became of it."""

import sys
from pathlib import Path
from typing import Final

from pve402 import client, schemas
from pve402.cli import calls, credentials, terminal

_MOST_BYTES: Final = 64 * 1024


def read(file: Path | None) -> str | None:
    """Read a script, from stdin if the file is `-`. Exits with 2 if that cannot be one."""
    if file is None:
        return None
    try:
        if str(file) == "-":
            script = sys.stdin.buffer.read(_MOST_BYTES + 1)
        else:
            with file.open("rb") as opened:
                script = opened.read(_MOST_BYTES + 1)
        text = script.decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        terminal.misused(f"--user-data: cannot read {file}: {reason}")
    if len(script) > _MOST_BYTES:
        terminal.misused(f"--user-data: {file} is larger than {_MOST_BYTES:,} bytes")
    return text


def show(url: str, token: str | None, name: str, *, as_json: bool) -> None:
    """Show how far a lease's script is, and its output to people as it is."""

    async def asked(service: client.Client) -> schemas.UserDataAnswer:
        return await client.user_data.show(service, await client.names.resolve(service, name))

    answer = calls.run(credentials.holder(url, token), asked)
    if as_json:
        terminal.show(answer, as_json=True)
        return
    terminal.show(answer.model_copy(update={"output": ""}), as_json=False)
    for line in answer.output.splitlines():
        terminal.show_columns([(line,)])
