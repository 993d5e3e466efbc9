"""When there is a jump host, and where tenants are told that it is."""

import sys
from typing import Any

import pytest

from pve402 import bootstrap, config

GOOD = {
    "pve_host": "https://pve.example.net",
    "pve_token_id": "pve402@pve!service",
    "pve_token_secret": "12345678-90ab-cdef-1234-567890abcdef",
    "pve_storage": "local-lvm",
    "pve_os_template": "local:vztmpl/debian-12.tar.zst",
    "pay_to": "0x209693Bc6afc0C5328bA36FaF03C514EF312287C",
    "pve402_secret_key": "k" * 32,
    "database_url": "sqlite:///unused.sqlite3",
}
BIND = {"pve402_ssh_bind": "0.0.0.0:2222"}


def built(**settings: Any) -> bootstrap.Components:
    return bootstrap.build(config.load(**{**GOOD, **settings}))


def test_there_is_none_unless_its_address_is_set() -> None:
    assert built().jump is None
    assert built(**BIND).jump is not None


@pytest.mark.parametrize(
    ("settings", "host", "port"),
    [
        ({}, "127.0.0.1", 2222),
        ({"pve402_public_url": "https://rent.example.com:8443"}, "rent.example.com", 2222),
        ({"pve402_public_url": "https://[2001:db8::1]"}, "[2001:db8::1]", 2222),
        ({"pve402_ssh_address": "ssh.example.com:22"}, "ssh.example.com", 22),
        ({"pve402_ssh_address": "[2001:db8::2]:22"}, "[2001:db8::2]", 22),
    ],
)
def test_tenants_are_told_where_it_is(settings: dict[str, str], host: str, port: int) -> None:
    jump = built(**BIND, **settings).jump

    assert jump is not None
    assert (jump.way.host, jump.way.port) == (host, port)


@pytest.mark.parametrize(
    "address", ["ssh.example.com", "-oProxyCommand=id:22", "a b:22", "a;id:22", "h:99999", ":22"]
)
def test_an_address_that_nobody_should_type_is_refused(address: str) -> None:
    with pytest.raises(config.SettingsError, match="PVE402_SSH_ADDRESS"):
        built(**BIND, pve402_ssh_address=address)


def test_without_its_library_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.startswith("pve402.jump.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("pve402.jump.host", raising=False)
    monkeypatch.delattr("pve402.jump.host_key", raising=False)
    monkeypatch.setitem(sys.modules, "asyncssh", None)

    assert built().jump is None
    with pytest.raises(config.SettingsError, match=r"pip install 'pve402\[server,ssh\]'"):
        built(**BIND)


def test_other_secrets_are_other_hosts() -> None:
    keys = [built(**BIND, pve402_secret_key=letter * 32).jump for letter in "aab"]

    lines = [jump.way.known_hosts_line for jump in keys if jump is not None]
    assert lines[0] == lines[1]
    assert len(set(lines)) == 2
