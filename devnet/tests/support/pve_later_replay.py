"""Sends the exchanges of recordings2.jsonl: other callers, and their words for who asked."""

import dataclasses
import json
import re
import urllib.parse
from typing import Any

import aiohttp
from devnet.tests.support import pve_replay, pve_rig
from tests.support import recordings

from pve402_devnet.pve import (
    NodeOptions,
    SimulatedProxmox,
    SimulatorOptions,
    StorageOptions,
    TokenOptions,
    access,
    registries,
)
from pve402_devnet.pve.registries import Registry

ROOT = "root@pam"
PROBE = "probe@pve"
PROBE_TOKEN = f"{PROBE}!pp"
LEASE_TOKEN = "lease@pve!svc"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _image(name: str, tag: str = "1", **fields: Any) -> registries.OciImage:
    return registries.OciImage(name=name, tag=tag, os_type="alpine", **fields)


IMAGES = (
    _image(
        "web",
        entrypoint=("/bin/httpd", "-f", "-v"),
        command=("-p", "80", "-h", "/srv"),
        environment=(_PATH, "WEB_PORT=80", "GREETING=hello world"),
        working_directory="/srv",
        stop_signal="SIGINT",
        volumes=("/data",),
    ),
    _image("library/busybox", "1.36", command=("sh",)),
    _image("init", command=("/sbin/init",)),
    _image("user", entrypoint=("/bin/sleep",), command=("3600",), user=("65534", "65534", "")),
    _image("exits", entrypoint=("/bin/true",)),
    _image("arm", architecture="arm64", entrypoint=("/bin/sleep", "3600")),
    _image("slow", command=("sh",), unpacked_bytes=5_000_000, is_slow=True),
)
"""Those of the recorded machine; the one for arm64 held programs for amd64."""
_PRESSURES = re.compile(r"pressure(cpu|io|memory)(some|full)")


def load() -> list[dict[str, Any]]:
    """All exchanges; what the kernel of that machine alone could tell is left out."""
    lines = (recordings.DIRECTORY / "recordings2.jsonl").read_text(encoding="utf-8").splitlines()
    documents = [json.loads(line) for line in lines]
    for document in documents:
        document["request"]["password_is_wrong"] = False
        _without_pressures(document["response"]["body"])
    return documents


def options() -> SimulatorOptions:
    """The machine as it was then: a second storage and bridge, and a known password of root."""
    before = pve_rig.options()
    root_token = TokenOptions(user=ROOT, name="rec", privilege_separated=False)
    return dataclasses.replace(
        before,
        access=dataclasses.replace(before.access, tokens=(*before.access.tokens, root_token)),
        root_password=pve_rig.PASSWORD,
        nodes=(NodeOptions(bridges=("vmbr0", "vmbr1"), address="10.77.0.1"),),
        storages=(
            StorageOptions(),
            StorageOptions(
                name="btr",
                type="btrfs",
                path="/mnt/btr",
                content=("images", "rootdir"),
                total_bytes=12 * 1024**3,
                snapshots=True,
            ),
            StorageOptions(name="bak", path="/var/lib/bak", content=("backup",)),
        ),
        registries=(
            Registry(host="registry.test:5000", images=IMAGES, private="privatex"),
            Registry(host="127.0.0.1:5000", images=IMAGES),
            Registry(host="127.0.0.1:8006", listener=registries.Listener.UNTRUSTED),
            Registry(host="10.77.0.1:5001", listener=registries.Listener.PLAIN),
        ),
    )


class LaterReplay(pve_replay.Replay):
    """Knows root's ticket, the set-up's token, and tokens that hold exactly some privileges."""

    def __init__(self, proxmox: SimulatedProxmox, http: aiohttp.ClientSession) -> None:
        super().__init__(proxmox, http)
        self.secrets: list[str] = []  # of the set-up's token, oldest first
        self.shows_old_secret = False
        self.probe_holds: tuple[tuple[str, str], ...] = ()  # beside what is said: path, privilege

    async def log_in(self) -> None:
        """Get root's ticket."""
        answer = await self.call(
            "POST", "/access/ticket", "none", username=ROOT, password=pve_rig.PASSWORD
        )
        data = answer.body["data"]
        self._login = {
            "Cookie": f"PVEAuthCookie={urllib.parse.quote(data['ticket'])}",
            "CSRFPreventionToken": data["CSRFPreventionToken"],
        }

    def learn(self, document: dict[str, Any], answer: pve_replay.Answer) -> None:
        """Remember the secrets of the set-up's token, too."""
        super().learn(document, answer)
        data = answer.body.get("data") if isinstance(answer.body, dict) else None
        if isinstance(data, dict) and data.get("full-tokenid") == LEASE_TOKEN:
            self.secrets.append(data["value"])

    def _headers(self, request: dict[str, Any]) -> dict[str, str]:
        auth = request["auth"]
        headers = super()._headers(request)
        if auth.startswith("only "):
            self._make_probe(auth.removeprefix("only "))
            token = self.world.access.token(PROBE_TOKEN)
            assert token is not None
            headers["Authorization"] = f"PVEAPIToken={PROBE_TOKEN}={token.secret}"
        if auth == "root":
            headers |= self.proxmox.authorization(f"{ROOT}!rec")
        if auth == "lease":
            secret = self.secrets[0 if self.shows_old_secret else -1]
            headers["Authorization"] = f"PVEAPIToken={LEASE_TOKEN}={secret}"
        if auth == "ticket-without-csrf":
            headers["Cookie"] = self._login["Cookie"]
        return headers

    def _make_probe(self, rights: str) -> None:
        """A token of an administrator that holds exactly these privileges."""
        known: access.Access = self.world.access
        known.forget(PROBE_TOKEN)
        known.users.setdefault(PROBE, access.User())
        known.users[PROBE].tokens["pp"] = access.Token(secret="00000000-probe")
        known.grant("/", PROBE, "Administrator")
        said = (right.partition("@")[::2] for right in rights.split(" "))
        for number, (privileges, path) in enumerate((*said, *self.probe_holds)):
            role = f"Probe{number}"
            known.roles[role] = frozenset(privileges.split("+"))
            known.grant(path, PROBE_TOKEN, role)


def _without_pressures(body: Any) -> None:
    """Figures of control groups of version 2, which the first machine did not have."""
    if isinstance(body, dict):
        for name, value in body.items():
            if _PRESSURES.fullmatch(name):
                body[name] = None
            elif name == "cgroup-mode":
                body[name] = 1
            else:
                _without_pressures(value)
    elif isinstance(body, list):
        for item in body:
            _without_pressures(item)
