"""The root shell of a node, for the commands that a set-up prints: `pveum` and `pvesh` calls."""

import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import quote

from pve402.proxmox import errors
from pve402.proxmox.client import ProxmoxClient

Call = tuple[str, str, dict[str, str]]
EXISTS = (errors.ProxmoxFault, errors.UserExists, errors.RoleExists)
_NAMED = {
    "role add": ("POST", "/access/roles", "roleid"),
    "user add": ("POST", "/access/users", "userid"),
    "acl modify": ("PUT", "/access/acl", "path"),
}


@dataclass
class RootShell:
    """Runs pasted lines over the API; `calls` are those that were made.

    `timer` is the command that the last timer runs once its time has come.
    """

    client: ProxmoxClient
    calls: list[Call] = field(default_factory=list)
    output: list[object] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    timer: str | None = None

    async def paste(self, lines: Iterable[str]) -> None:
        """Run each line, as a shell does: after a failure only what follows `||`."""
        for line in lines:
            for command in line.split(" || "):
                words = shlex.split(command, comments=True)
                if not words or await self._runs(words):
                    break

    async def end_timer(self) -> None:
        """Let the timer's time come."""
        command, self.timer = self.timer, None
        await self.paste([command] if command else [])

    async def _runs(self, words: list[str]) -> bool:
        match words:
            case ["ip" | "grep", *_]:
                return True
            case ["systemctl", "stop", _, "2>/dev/null;", "systemd-run", *timer]:
                end = timer.index("&&")
                self.timer = shlex.join(timer[timer.index("--collect") + 1 : end])
                return await self._runs(timer[end + 1 :])
            case ["pvesh", "get", path, *rest]:
                return await self._finds(path, rest)
            case _:
                return await self._changes(words)

    async def _finds(self, path: str, rest: list[str]) -> bool:
        """Read something; with `| grep -qF`, tell whether the text is in it."""
        found = json.dumps(await self.client.call("GET", path))
        return "grep" not in rest or rest[-1] in found

    async def _changes(self, words: list[str]) -> bool:
        method, path, form = _call(words)
        if not path:
            return True
        try:
            self.output.append(await self.client.call(method, path, form))
        except (errors.InvalidParameters, *EXISTS) as error:
            self.complaints.append(str(error))
            return False
        self.calls.append((method, path, form))
        return True


def _call(words: list[str]) -> Call:
    """The call of a command; without a path where it needs none."""
    first = next((n for n, word in enumerate(words) if word.startswith("--")), len(words))
    places, options = words[:first], words[first:]
    names = [name.removeprefix("--") for name in options[::2]]
    form = dict(zip(names, options[1::2], strict=True))
    match places:
        case ["pveam", "update"]:
            return "", "", {}
        case ["pveum", "role", "modify", role]:
            return "PUT", f"/access/roles/{role}", form
        case ["pveum", "user", "token", "add", user, name]:
            return "POST", f"/access/users/{quote(user, safe='')}/token/{name}", form
        case ["pvesh", "create", path]:
            return "POST", path, form
        case ["pvesh", "set", path]:
            return "PUT", path, form
        case ["pveum", *verb, subject]:
            method, path, name = _NAMED[" ".join(verb)]
            return method, path, {name: subject, **form}
    raise AssertionError(f"no such command: {words}")
