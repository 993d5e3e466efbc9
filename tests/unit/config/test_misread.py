"""Files and values that are easily written wrongly: each is read as meant, or named in a line."""

import re
from pathlib import Path

import pytest

from pve402 import config
from pve402.payments import networks

REQUIRED = """\
PVE_HOST=https://192.0.2.10:8006
PVE_TOKEN_ID=pve402@pve!service
PVE_TOKEN_SECRET=12345678-90ab-cdef-1234-567890abcdef
PVE_STORAGE=local-lvm
PVE_OS_TEMPLATE=local:vztmpl/debian-12.tar.zst
PAY_TO=0x209693Bc6afc0C5328bA36FaF03C514EF312287C
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Load a file with these bytes, behind the required settings."""
    for name in [*re.findall(r"^[A-Z_]+", REQUIRED, re.MULTILINE), "ADDRESS"]:
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "settings.env"

    def load_file(content: str | bytes) -> config.Settings:
        more = content.encode() if isinstance(content, str) else content
        file.write_bytes(REQUIRED.encode() + more)
        return config.load(file)

    return load_file


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ("PVE_POOL tenants\n", "line 7"),
        ("PVE_POOL: tenants\n", "line 7"),
        ("\n# fine\nPVE_POOL='tenants\n", "line 9"),
        ('PVE_POOL="tenants\nPVE_VLAN=5\n', "line 7"),
        ("=tenants\n", "line 7"),
        ("[service]\nPVE_POOL=tenants\nset PVE_VLAN 5\n", "lines 7, 9"),
        ("PVE_POOL='a' b\n", "line 7"),
    ],
)
def test_a_line_that_is_no_assignment_is_named(load, content: str, lines: str) -> None:
    with pytest.raises(config.SettingsError) as raised:
        load(content)

    (said,) = raised.value.problems.values()
    assert f"settings.env: {lines}: write NAME=value" in said
    assert "tenants" not in said


@pytest.mark.parametrize(
    "content",
    ["PVE_POOL=tenants\n".encode("utf-16"), b"PVE_POOL=caf\xe9\n", b"\xff", b"PVE_POOL=\x80\n"],
)
def test_what_is_no_text_is_said_so(load, content: bytes) -> None:
    with pytest.raises(config.SettingsError, match=r"settings\.env: is not text in UTF-8$"):
        load(content)


@pytest.mark.parametrize(
    "content",
    [
        "export PVE_POOL=tenants\n",
        "PVE_POOL = tenants  # ours\n",
        "PVE_POOL='tenants'\r\n",
        'PVE_POOL="tenants"',
        "pve_pool=tenants\n",
        "PVE_POOL=other\nPVE_POOL=tenants\n",
    ],
)
def test_a_line_is_read_as_shells_do(load, content: str) -> None:
    assert load(content).pve_pool == "tenants"


@pytest.mark.parametrize(
    "content",
    [
        "PVE_TOKEN_SECRET=' 12345678-90ab-cdef-1234-567890abcdef '\n",
        "PVE_TOKEN_SECRET='12345678-90ab-cdef-1234-567890abcdef\t'\n",
        'PVE_TOKEN_SECRET="12345678-90ab-cdef-1234-567890abcdef\n"\n',
        "PVE_TOKEN_ID=' pve402@pve!service'\n",
        "PVE_TOKEN_ID='pve402@pve!service\u00a0'\n",
    ],
)
def test_blanks_around_a_token_are_no_part_of_it(load, content: str) -> None:
    settings = load(content)

    assert settings.pve_token_id == "pve402@pve!service"
    assert settings.pve_token_secret.get_secret_value() == "12345678-90ab-cdef-1234-567890abcdef"


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("PVE_TOKEN_SECRET='1234 5678'\n", "PVE_TOKEN_SECRET"),
        ("PVE_TOKEN_SECRET=12345678\u2013abcd\n", "PVE_TOKEN_SECRET"),
        ('PVE_TOKEN_SECRET="1234\\n5678"\n', "PVE_TOKEN_SECRET"),
        ("PVE_TOKEN_SECRET='  '\n", "PVE_TOKEN_SECRET"),
        ("PVE_TOKEN_ID=pve402@pve\n", "PVE_TOKEN_ID"),
        ("PVE_TOKEN_ID=pve402@pve!service=12345678-90ab\n", "PVE_TOKEN_ID"),
        ("PVE_TOKEN_ID=PVEAPIToken=pve402@pve!service\u00e9\n", "PVE_TOKEN_ID"),
        (f"PVE_TOKEN_ID=pve402@pve!{'s' * 64}\n", "PVE_TOKEN_ID"),
        ("PVE_NODE=pve_1\n", "PVE_NODE"),
        ("PVE_STORAGE=local:lvm\n", "PVE_STORAGE"),
        ("PVE_BRIDGE=vmbr0,tag=5\n", "PVE_BRIDGE"),
        ("PVE402_INSTANCE='My shop'\n", "PVE402_INSTANCE"),
    ],
)
def test_a_value_of_the_wrong_form_is_told_in_words(load, content: str, name: str) -> None:
    with pytest.raises(config.SettingsError) as raised:
        load(content)

    said = raised.value.problems[name]
    assert said.startswith(f"{name}: ")
    assert "1234" not in said.partition("Example")[0]
    assert not re.search(r"pattern|\\|\^|String", said)


PAYEES_OF_NOBODY = ["0x" + "0" * 40, *(network.asset for network in networks.NETWORKS[:5])]


@pytest.mark.parametrize("address", PAYEES_OF_NOBODY)
def test_what_no_token_pays_is_no_payee(load, address: str) -> None:
    with pytest.raises(config.SettingsError, match="PAY_TO: nobody can be paid there"):
        load(f"PAY_TO={address}\n")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("RPCURL", "RPC_URL"),
        ("PAYTO", "PAY_TO"),
        ("FACILITATOR", "FACILITATOR_URL"),
        ("DATABASEURL", "DATABASE_URL"),
        ("NETWORKS", "NETWORK"),
        ("TRUST_FACILITATORS", "TRUST_FACILITATOR"),
    ],
)
def test_a_mistyped_name_is_found_without_our_prefix(
    load, tmp_path: Path, written: str, meant: str
) -> None:
    load(f"{written}=x\nHTTPS_PROXY=x\nTZ=UTC\nDEVNET_TENANT_KEY=x\n")

    assert config.unknown_variables(tmp_path / "settings.env") == {written: meant}
