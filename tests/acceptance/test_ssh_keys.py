"""The SSH keys of a running container: listed, added, removed; and a container without sshd."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests
from tests.support import commands, processes
from tests.support.commands import Container
from tests.support.processes import ServeProcess

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3f6Sx0dF0W3zM2xYt6oT3kq7rQv0c9b8a7f6e5d4c3 me@home"


@pytest.fixture(scope="module")
def container(service: ServeProcess) -> Container:
    """A container for the tests of this module."""
    return commands.lease(service)


def call(container: Container, method: str, **more: object) -> requests.Response:
    url = f"{container.service.url}/management/keys/{container.ctid}"
    return requests.request(method, url, headers=container.bearer, timeout=60, **more)  # type: ignore[arg-type]


def lines(reply: requests.Response) -> list[str]:
    assert reply.ok, reply.text
    return [key["publicKey"] for key in reply.json()["keys"]]


def test_keys_are_listed_added_and_removed(container: Container):
    before = lines(call(container, "GET"))
    by_hand = "# by hand\\nfrom=1.2.3.4 ssh-rsa x"  # without a newline at its end
    container.output(f"mkdir -p /root/.ssh; printf '{by_hand}' >>/root/.ssh/authorized_keys")

    added = call(container, "POST", json={"publicKey": f"  {KEY} "})
    again = call(container, "POST", json={"publicKey": KEY})
    by_hand = "from=1.2.3.4 ssh-rsa x"
    assert lines(added) == lines(again) == [*before, by_hand, KEY]
    (key,) = [key for key in again.json()["keys"] if key["publicKey"] == KEY]
    assert key["fingerprint"].startswith("SHA256:")

    left = call(container, "DELETE", params={"fingerprint": key["fingerprint"]})
    assert lines(left) == [*before, by_hand]
    gone = call(container, "DELETE", params={"fingerprint": key["fingerprint"]})
    assert (gone.status_code, gone.json()["code"]) == (404, "key_missing")
    assert container.output("grep -c '# by hand' /root/.ssh/authorized_keys") == "1\n"


@pytest.mark.parametrize(
    "line",
    [
        "ssh-ed25519 AAAA",
        f"{KEY}\n{KEY}",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        'command="reboot" ' + KEY,
        "",
    ],
)
def test_what_sshd_cannot_read_is_refused(container: Container, line: str):
    before = lines(call(container, "GET"))
    refused = call(container, "POST", json={"publicKey": line})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_ssh_key")
    assert lines(call(container, "GET")) == before


def test_the_command_line_lists_adds_and_removes(container: Container, tmp_path: Path):
    settings = {"PVE402_URL": container.service.url, "PVE402_TOKEN": container.token}
    (tmp_path / "key.pub").write_text(KEY)
    added = processes.run("keys", container.ctid, "--add", str(tmp_path / "key.pub"), **settings)
    assert added.returncode == 0, added.stderr
    (line,) = [line for line in added.stdout.splitlines() if line.endswith("me@home")]
    removed = processes.run("keys", container.ctid, "--remove", line.split()[0], **settings)
    assert removed.returncode == 0, removed.stderr
    assert "me@home" not in removed.stdout


def test_without_an_ssh_server_one_sentence_says_how_to_add_it(serve, tmp_path: Path):
    service = serve(PVE_OS_TEMPLATE="local:vztmpl/busybox-alpine-3.22_1_amd64.tar.gz")
    bare = commands.lease(service)
    settings = {
        "PVE402_URL": service.url,
        "PVE402_TOKEN": bare.token,
        "XDG_CONFIG_HOME": str(tmp_path),
    }
    for words in (("ssh", bare.ctid, "true"), ("ssh-config", bare.ctid)):
        done = processes.run(*words, **settings)
        assert (done.returncode, done.stdout) == (5, "")
        assert "this container has no SSH server; add one with" in done.stderr
    piped = processes.run("tunnel", bare.ctid, **settings)
    assert piped.returncode == 127
    assert "apk add openssh" in piped.stderr
    assert bare.output("echo on") == "on\n"
