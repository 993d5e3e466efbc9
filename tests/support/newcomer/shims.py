"""Programs that the tutorial calls and a test machine lacks, or that would reach beyond it.

Run as `python shims.py NAME WORD...`; `install` writes one small program for each name.
The environment says `NEWCOMER_FOLDER`, where the node's files and the service's journal are,
`NEWCOMER_PACKAGES`, where the checkout's packages are, and `NEWCOMER_PVE_PASSWORD`, root's.
"""

import configparser
import json
import os
import pwd
import shlex
import shutil
import ssl
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

NODE = ("pveam", "pveum")
SERVICE_MACHINE = ("apt-get", "python3", "scp", "systemctl")
UNITS = Path("/etc/systemd/system")
_PVE = "https://127.0.0.1:8006/api2/json"
_PROGRAMS_OF_PACKAGES = {
    "ca-certificates": "true",
    "openssh-client": "scp",
    "python3-venv": "python3",
}


def install(folder: Path, names: Sequence[str]) -> None:
    """Put programs of these names into a folder."""
    folder.mkdir()
    for name in names:
        words = shlex.join([sys.executable, "-I", __file__, name])
        (folder / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (folder / name).chmod(0o755)


def pveum(words: Sequence[str]) -> None:
    """Make roles, users, tokens and rights through the API, as `pveum` does."""
    places, options = _parsed(words)
    match places:
        case ["role", "add", role]:
            call("POST", "/access/roles", roleid=role, privs=options["privs"])
        case ["user", "add", user]:
            call("POST", "/access/users", userid=user, **options)
        case ["user", "token", "add", user, name]:
            made = call("POST", f"/access/users/{user}/token/{name}", **options)
            print(f"full-tokenid {made['full-tokenid']}\nvalue {made['value']}")
        case ["acl", "modify", path]:
            call("PUT", "/access/acl", path=path, **options)
        case ["user", "token", "permissions", user, name]:
            query = urllib.parse.urlencode({"userid": f"{user}!{name}"})
            for path, held in call("GET", f"/access/permissions?{query}").items():
                print(path, ",".join(sorted(held)))
        case _:
            raise SystemExit(f"pveum: unknown command {words}")


def pveam(words: Sequence[str]) -> None:
    """See that a template is there: a simulated node downloads none."""
    match list(words):
        case ["update"] | ["available", "--section", "system"]:
            return
        case ["download", storage, template]:
            held = call("GET", f"/nodes/pve/storage/{storage}/content?content=vztmpl")
            if f"{storage}:vztmpl/{template}" not in {row["volid"] for row in held}:
                raise SystemExit(f"pveam: no template {template}")
        case _:
            raise SystemExit(f"pveam: unknown command {words}")


def apt_get(words: Sequence[str]) -> None:
    """Install nothing: the packages named must be on this machine, by their programs."""
    if list(words) == ["update"]:
        return
    verb, yes, *packages = words
    programs = [_PROGRAMS_OF_PACKAGES.get(package, package) for package in packages]
    missing = [name for name in programs if not shutil.which(name)]
    if (verb, yes) != ("install", "-y") or missing:
        raise SystemExit(f"apt-get: {words}, missing: {missing}")


def python3(words: Sequence[str]) -> None:
    """Run Python; an environment that it makes has the checkout's packages, pip among them."""
    base = getattr(sys, "_base_executable", sys.executable)
    if words[:2] != ["-m", "venv"]:
        subprocess.run([base, *words], check=True)
        return
    subprocess.run([base, *words, "--without-pip"], check=True)
    made = Path(words[2])
    (library,) = made.glob("lib/python3*/site-packages")
    first = f"import sys; sys.path.insert(0, {os.environ['NEWCOMER_PACKAGES']!r})\n"
    (library / "checkout.pth").write_text(first)
    (made / "bin/pip").write_text(f'#!/bin/sh\nexec {made}/bin/python -m pip "$@"\n')
    (made / "bin/pip").chmod(0o755)


def scp(words: Sequence[str]) -> None:
    """Copy a file of the node to this machine."""
    source, target = words
    _, _, path = source.partition("root@pve.example.net:")
    shutil.copyfile(_folder() / "node" / path.lstrip("/"), target)


def systemctl(words: Sequence[str]) -> None:
    """Read units again, or start one as systemd would."""
    match list(words):
        case ["daemon-reload"]:
            if shutil.which("systemd-analyze"):
                command = ["systemd-analyze", "verify", *map(str, UNITS.glob("pve402*"))]
                subprocess.run(command, check=True)
        case ["enable", "--now", name]:
            _start(UNITS / f"{name}.service")
        case _:
            raise SystemExit(f"systemctl: unknown command {words}")


def _start(unit: Path) -> None:
    """Start what a unit says as the user it says, with nothing of this environment."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit.read_text())
    service = parser["Service"]
    user = pwd.getpwnam(service["User"])
    _state_directory(service, user)
    become = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": user.pw_dir, "USER": user.pw_name}
    with (_folder() / "journal").open("wb") as journal:
        subprocess.Popen(
            [*become, "--no-new-privs", *shlex.split(service["ExecStart"])],
            env=environment,
            cwd=service["WorkingDirectory"],
            stdin=subprocess.DEVNULL,
            stdout=journal,
            stderr=journal,
            start_new_session=True,
        )


def _state_directory(service: configparser.SectionProxy, user: pwd.struct_passwd) -> None:
    state = Path("/var/lib") / service["StateDirectory"]
    state.mkdir(exist_ok=True)
    os.chown(state, user.pw_uid, user.pw_gid)
    state.chmod(int(service["StateDirectoryMode"], 8))


def _parsed(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Words that stand alone, and `--name value` pairs."""
    places: list[str] = []
    options: dict[str, str] = {}
    left = iter(words)
    for word in left:
        if word.startswith("--"):
            options[word.removeprefix("--")] = next(left)
        else:
            places.append(word)
    return places, options


def call(method: str, path: str, /, **fields: str) -> Any:
    """Call the API as root of the node."""
    login = {"username": "root@pam", "password": os.environ["NEWCOMER_PVE_PASSWORD"]}
    ticket = _request("POST", "/access/ticket", login, {})
    headers = {
        "Cookie": f"PVEAuthCookie={urllib.parse.quote(ticket['ticket'])}",
        "CSRFPreventionToken": ticket["CSRFPreventionToken"],
    }
    return _request(method, path, fields, headers)


def _request(method: str, path: str, fields: dict[str, str], headers: dict[str, str]) -> Any:
    body = urllib.parse.urlencode(fields).encode() if method != "GET" else None
    asked = urllib.request.Request(_PVE + path, body, headers, method=method)
    trusted = ssl.create_default_context(cafile=str(_folder() / "node/etc/pve/pve-root-ca.pem"))
    with urllib.request.urlopen(asked, timeout=30, context=trusted) as answer:
        return json.load(answer)["data"]


def _folder() -> Path:
    return Path(os.environ["NEWCOMER_FOLDER"])


PROGRAMS: dict[str, Callable[[Sequence[str]], None]] = {
    "apt-get": apt_get,
    "pveam": pveam,
    "pveum": pveum,
    "python3": python3,
    "scp": scp,
    "systemctl": systemctl,
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](sys.argv[2:])
