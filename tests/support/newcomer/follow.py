"""Follow the operator's tutorial line by line: `python -m tests.support.newcomer.follow FOLDER`.

Runs inside the namespaces of `machine.command`. Prints all that is typed and answered, and at the
end one line of JSON about what came of it; ends with 1 at the first line that fails.
"""

import json
import os
import pwd
import re
import signal
import ssl
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.newcomer import machine, script, shims, world

_DONE = "-- all of these lines worked --"
_INHERITED = ("LANG", "TMPDIR", "PIP_", "NEWCOMER_")
_SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SECRET_IN_TUTORIAL = "12345678-90ab-cdef-1234-567890abcdef"
_GIFT_ATOMIC = 1_000_000
_ADDRESS = re.compile(r"^0x[0-9a-fA-F]{40}$", re.MULTILINE)
_VALUE = re.compile(r"^value (\S+)$", re.MULTILINE)


class Failed(Exception):
    """A line of the tutorial failed."""


class Shell:
    """Root's shell on one of the machines; it ends at the first line that fails."""

    def __init__(self, folder: Path, name: str, programs: tuple[str, ...]) -> None:
        self._block = folder / f"{name}.sh"
        home = folder / f"{name}-home"
        home.mkdir()
        # The checkout that stands for the repository may belong to somebody else.
        (home / ".gitconfig").write_text("[safe]\n\tdirectory = *\n")
        shims.install(folder / f"{name}-bin", programs)
        environment = {
            **{key: value for key, value in os.environ.items() if key.startswith(_INHERITED)},
            "HOME": str(home),
            "PATH": f"{folder / f'{name}-bin'}:{_SYSTEM}",
            "PIP_NO_BUILD_ISOLATION": "0",  # setuptools is there; 0 is how pip spells this "yes"
            "PIP_NO_INDEX": "1",
        }
        self._bash = subprocess.Popen(
            ["bash", "-e"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=home,
            text=True,
        )

    def type(self, text: str) -> str:
        """Type some lines; what they print.

        Raises:
            Failed: one of them did.
        """
        self._block.write_text(text)
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f"set -v; . {self._block} </dev/null; {{ set +v; }} 2>&-\n")
        self._bash.stdin.write(f"printf '\\n%s\\n' '{_DONE}'\n")
        self._bash.stdin.flush()
        said = ""
        for line in self._bash.stdout:
            if line.strip() == _DONE:
                return said
            said += line
            print(line, end="", flush=True)
        raise Failed


@dataclass(kw_only=True)
class Reader:
    """Somebody who types what the page says, and fills in what the node told."""

    shells: dict[str, Shell]
    secret: str = _SECRET_IN_TUTORIAL
    wallet: str = ""
    tags: set[str] = field(default_factory=set)

    def follow(self, block: script.Block) -> None:
        """Type one block, and do what the page says around it."""
        print(f"\n## {block.heading}", flush=True)
        said = self.shells[block.machine].type(self._filled_in(block.text))
        if found := _VALUE.search(said):
            self.secret = found[1]
        if found := _ADDRESS.search(said):
            self.wallet = found[0]
            world.rpc("devnet_mintUsdc", self.wallet, hex(_GIFT_ATOMIC))
        for guest in shims.call("GET", "/cluster/resources?type=vm"):
            self.tags |= {tag for tag in guest["tags"].split(";") if tag.startswith("pve402-")}

    def _filled_in(self, text: str) -> str:
        for written, here in {**world.ADDRESSES, _SECRET_IN_TUTORIAL: self.secret}.items():
            text = text.replace(written, here)
        return text


def main(folder: Path) -> int:
    """Follow the page from its first line to its last."""
    os.environ |= {
        "NEWCOMER_FOLDER": str(folder),
        "NEWCOMER_PACKAGES": machine.site_packages(),
        "NEWCOMER_PVE_PASSWORD": world.ROOT_PASSWORD,
    }
    machine.prepare(folder)
    with world.running():
        authority = folder / "node/etc/pve/pve-root-ca.pem"
        authority.parent.mkdir(parents=True)
        authority.write_text(ssl.get_server_certificate(("127.0.0.1", 8006)))
        shells = {
            script.NODE: Shell(folder, "node", shims.NODE),
            script.SERVICE_MACHINE: Shell(folder, "service", shims.SERVICE_MACHINE),
        }
        reader = Reader(shells=shells)
        try:
            for block in script.blocks():
                reader.follow(block)
        except Failed:
            print(_journal(folder))
            return 1
        print(json.dumps(_what_came_of_it(reader)))
    return 0


def _what_came_of_it(reader: Reader) -> dict[str, object]:
    user = pwd.getpwnam("pve402")
    state, settings = Path("/var/lib/pve402"), Path("/etc/pve402/pve402.env")
    return {
        "earned": world.usdc(re.findall(r"^PAY_TO=(\S+)", settings.read_text(), re.MULTILINE)[0]),
        "mode_of_settings": oct(settings.stat().st_mode & 0o777),
        "owners_of_state": sorted({file.stat().st_uid for file in [state, *state.iterdir()]}),
        "ran_as": sorted(_users_of("serve")),
        "spent": _GIFT_ATOMIC - world.usdc(reader.wallet),
        "tags": sorted(reader.tags),
        "user": user.pw_uid,
    }


def _users_of(word: str) -> set[int]:
    """Users of the processes that have a word on their command line."""
    found = set()
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        words = command.read_bytes().split(b"\0")
        if word.encode() in words:
            found.add(command.stat().st_uid)
    return found


def _journal(folder: Path) -> str:
    journal = folder / "journal"
    return journal.read_text(errors="replace") if journal.exists() else ""


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main(Path(sys.argv[1])))
