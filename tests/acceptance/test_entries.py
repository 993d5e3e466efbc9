"""Files and folders of a container by API and command line, with names of any bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from urllib.parse import quote_from_bytes, unquote_to_bytes

import pytest
import requests
from tests.support import commands, programs
from tests.support.commands import Container
from tests.support.processes import ServeProcess

AWKWARD = b"/root/d/x\n\x1b[31m\xff+&="


@pytest.fixture(scope="module")
def container(service: ServeProcess) -> Container:
    """A container for the tests of this module."""
    return commands.lease(service)


def call(container: Container, method: str, noun: str, **fields: bytes) -> requests.Response:
    what, _, action = noun.partition("/")
    query = "&".join(f"{name}={quote_from_bytes(value)}" for name, value in fields.items())
    url = f"{container.service.url}/management/{what}/{container.ctid}/{action}".rstrip("/")
    return requests.request(method, f"{url}?{query}", headers=container.bearer, timeout=60)


def test_an_entry_lives_under_a_name_of_any_bytes(container: Container):
    made = call(container, "POST", "folders", path=AWKWARD + b"/in", parents=b"true", mode=b"0700")
    assert made.status_code == 200, made.text
    assert (made.json()["kind"], made.json()["mode"]) == ("folder", "0700")

    first = call(container, "GET", "folders", path=b"/root/d", depth=b"2", limit=b"1").json()
    after = first["after"].encode()
    second = call(container, "GET", "folders", path=b"/root/d", depth=b"2", after=after).json()
    paths = [unquote_to_bytes(item["path"]) for item in first["entries"] + second["entries"]]
    assert paths == [AWKWARD, AWKWARD + b"/in"]
    assert first["entries"][0]["name"] == "x\n\x1b[31m\ufffd+&="
    assert second["after"] is None

    changed = call(
        container, "POST", "entries/attributes", path=AWKWARD, mode=b"1750", owner=b"7:8"
    ).json()
    assert (changed["mode"], changed["uid"], changed["gid"]) == ("1750", 7, 8)
    moved = call(container, "POST", "entries/move", path=AWKWARD, to=b"/root/d/e").json()
    assert moved["path"] == "/root/d/e"
    full = call(container, "DELETE", "entries", path=b"/root/d/e")
    assert (full.status_code, full.json()["code"]) == (409, "folder_not_empty")
    assert (
        call(container, "DELETE", "entries", path=b"/root/d", recursive=b"true").status_code == 204
    )
    gone = call(container, "GET", "entries", path=b"/root/d")
    assert (gone.status_code, gone.json()["code"]) == (404, "file_missing")


@pytest.mark.parametrize(
    ("method", "noun", "fields", "status", "code"),
    [
        ("GET", "folders", {"path": b"/etc/hostname"}, 409, "not_a_folder"),
        ("GET", "folders", {"path": b"/etc", "depth": b"9"}, 422, "invalid_request"),
        ("GET", "folders", {"path": b"/etc", "limit": b"1001"}, 422, "invalid_request"),
        ("GET", "folders", {"path": b"/etc", "after": b"a/b"}, 422, "invalid_request"),
        ("GET", "folders", {"path": b"etc"}, 422, "invalid_request"),
        ("GET", "entries", {}, 422, "invalid_request"),
        ("DELETE", "entries", {"path": b"/", "recursive": b"true"}, 422, "invalid_request"),
        ("DELETE", "entries", {"path": b"/x\0", "recursive": b"true"}, 422, "invalid_request"),
        ("DELETE", "entries", {"path": b"/x", "recursive": b"yes"}, 422, "invalid_request"),
        ("POST", "folders", {"path": b"/etc"}, 409, "file_exists"),
        ("POST", "folders", {"path": b"/x", "mode": b"rwx"}, 422, "invalid_request"),
        ("POST", "entries/move", {"path": b"/etc/hostname"}, 422, "invalid_request"),
        ("POST", "entries/attributes", {"path": b"/etc"}, 422, "invalid_request"),
        (
            "POST",
            "entries/attributes",
            {"path": b"/etc", "owner": b"-R"},
            422,
            "invalid_request",
        ),
    ],
)
def test_refusals_have_stable_codes(
    container: Container, method: str, noun: str, fields: dict[str, bytes], status: int, code: str
):
    refused = call(container, method, noun, **fields)
    assert (refused.status_code, refused.json()["code"]) == (status, code), refused.text


def test_commands_work_on_files_and_folders(container: Container):
    name = b"/root/cli/a\x1b[31m\xff"
    assert pve402("mkdir", container, name, "--parents", "--mode", "0711") == b""
    assert pve402("chmod", container, "1770", name) == b""
    assert pve402("chown", container, "5:6", name) == b""
    (line,) = pve402("ls", container, "/root/cli").splitlines()
    assert line.split()[:2] == [b"1770", b"5:6"]
    assert b"\x1b" not in line
    listed = json.loads(pve402("ls", container, "/root/cli", "--json"))
    assert unquote_to_bytes(listed["path"]) == name
    assert pve402("mv", container, name, "/root/cli/b") == b""
    facts = json.loads(pve402("stat", container, "/root/cli/b", "--json"))
    assert (facts["kind"], facts["path"]) == ("folder", "/root/cli/b")
    assert b"folder_not_empty" in pve402("rm", container, "/root/cli", code=5)
    assert pve402("rm", container, "/root/cli", "--recursive") == b""
    assert b"file_missing" in pve402("ls", container, "/root/cli", code=4)


def test_the_command_tells_changes_below_a_folder(container: Container):
    container.output("mkdir -p /root/told/in; echo 1 >/root/told/in/old")
    words = [sys.executable, "-m", "pve402", "watch", container.ctid, "/root/told", "--depth", "2"]
    settings = {"PVE402_URL": container.service.url, "PVE402_TOKEN": container.token}
    expected = {b"removed  /root/told/in/old\n", b"created  /root/told/in/a?b\n"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with programs.started(words, env={**os.environ, **settings}, **pipes) as told:
        assert told.stdout is not None
        assert told.stderr is not None
        assert told.stderr.readline() == b"pve402: watching\n"
        container.output("cd /root/told/in; rm old; echo 1 >\"$(printf 'a\\033b')\"")
        lines = set()
        while not expected <= lines:  # the folder itself has changed too, if its second did
            lines.add(told.stdout.readline())
            assert b"" not in lines, told.stderr.read()
        container.output("rm -r /root/told")
        assert told.wait(60) == 4

    assert all(b" /root/told/in" in line for line in lines)


def pve402(command: str, container: Container, *words: str | bytes, code: int = 0) -> bytes:
    """Run a command; its output, or what it says if it is to fail."""
    settings = {"PVE402_URL": container.service.url, "PVE402_TOKEN": container.token}
    done = subprocess.run(
        [sys.executable, "-m", "pve402", command, container.ctid, *words],
        env={**os.environ, **settings},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


def test_changes_of_a_folder_are_told_as_events(container: Container):
    container.output("mkdir /root/watched; echo 1 >/root/watched/old")
    url = f"{container.service.url}/management/folders/{container.ctid}/watch"
    query = {"path": "/root/watched"}
    asked = {"params": query, "headers": container.bearer, "timeout": 60}
    with requests.get(url, stream=True, **asked) as reply:
        seen = commands.events(reply)
        first = next(seen)
        assert (first.kind, first.facts) == ("ready", {"by": "looking", "everySeconds": 2.0})
        container.output("cd /root/watched; rm old; echo 1 >'a b'")
        found = [next(seen), next(seen)]

    assert sorted((one.kind, one.facts["name"], one.facts["path"]) for one in found) == [
        ("created", "a b", "/root/watched/a%20b"),
        ("removed", "old", "/root/watched/old"),
    ]
    missing = requests.get(url, **{**asked, "params": {"path": "/root/none"}})
    assert (missing.status_code, missing.json()["code"]) == (404, "file_missing")
