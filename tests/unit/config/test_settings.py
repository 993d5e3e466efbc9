"""Settings: what is read, what is refused, and in which words."""

import stat
from pathlib import Path

import pytest

from pve402 import config

REQUIRED = {
    "PVE_HOST": "https://192.0.2.10:8006",
    "PVE_TOKEN_ID": "pve402@pve!service",
    "PVE_TOKEN_SECRET": "12345678-90ab-cdef-1234-567890abcdef",
    "PVE_STORAGE": "local-lvm",
    "PVE_OS_TEMPLATE": "local:vztmpl/debian-12.tar.zst",
    "PAY_TO": "0x209693Bc6afc0C5328bA36FaF03C514EF312287C",
}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write an env file; nothing of this machine's environment is seen."""
    for name in [*REQUIRED, "ADDRESS", "NETWORK", "DATABASE_URL", "PVE402_SECRET_KEY"]:
        monkeypatch.delenv(name, raising=False)

    def write_file(**variables: str | None) -> Path:
        merged = {**REQUIRED, **variables}
        file = tmp_path / "settings.env"
        file.write_text("".join(f"{k}={v}\n" for k, v in merged.items() if v is not None))
        return file

    return write_file


def test_the_required_variables_are_enough(write):
    settings = config.load(write())

    assert settings.pve_host == "https://192.0.2.10:8006"
    assert settings.network == ("eip155:84532",)
    assert settings.pve402_port == 4021
    assert settings.public_url == "http://127.0.0.1:4021"
    assert settings.uses_sqlite


def test_address_is_taken_for_pay_to(write):
    settings = config.load(write(PAY_TO=None, ADDRESS=REQUIRED["PAY_TO"]))

    assert settings.pay_to == REQUIRED["PAY_TO"].lower()


def test_every_missing_variable_is_named_with_an_example(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in REQUIRED:
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(config.SettingsError) as raised:
        config.load()

    assert set(raised.value.problems) == set(REQUIRED)
    assert "Example: PVE_HOST=https://" in str(raised.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PVE_HOST", "http://pve.example.com"),
        ("PVE_TOKEN_ID", "root@pam"),
        ("PVE_VERIFY_SSL", "perhaps"),
        ("PVE_FINGERPRINT", "AB:CD"),
        ("PVE_CA_FILE", "/nowhere/ca.pem"),
        ("PVE_IP", "10.0.0.5"),
        ("PVE_VLAN", "4095"),
        ("PVE_VMID_MAX", "500"),
        ("PVE_EXEC", "ssh"),
        ("PVE_CONSOLE_PASSWORD", "a password without its user"),
        ("NETWORK", "dogecoin"),
        ("PAY_TO", "0x209693bc6afc0C5328bA36FaF03C514EF312287C"),
        ("PVE_NODE", "no such node"),
        ("PVE_NODE", "pve.example.com"),
        ("PVE_NODE", "-pve"),
        ("RPC_URL", "localhost:8545"),
        ("RPC_URL", "https://rpc.example.com:99999"),
        ("RPC_URL", "https://rpc.example.com:port"),
        ("RPC_URL", "https://:key@rpc.example.com"),
        ("FACILITATOR_URL", "https://pay.example.com/x402#key"),
        ("FACILITATOR_URL", "https://pay.example.com/a b"),
        ("FACILITATOR_URL", "https://key:secret@pay.example.com"),
        ("FACILITATOR_PRIVATE_KEY", "0x1234"),
        ("DATABASE_URL", "mysql://localhost/x"),
        ("PVE402_SECRET_KEY", "too short"),
        ("PVE402_PUBLIC_URL", "https://rent.example.com/path"),
        ("PVE402_PUBLIC_URL", "https://rent.example.com?from=here"),
        ("PVE402_PORT", "70000"),
        ("PVE402_METRICS_BIND", "9402"),
        ("PVE402_TRUSTED_PROXIES", "proxy.example.com"),
        ("PVE402_STATS_NODE_FIELDS", "cpu,temperature"),
    ],
)
def test_a_bad_value_is_refused_by_name(write, variable, value):
    with pytest.raises(config.SettingsError) as raised:
        config.load(write(**{variable: value}))

    assert list(raised.value.problems) == [variable]


def test_a_short_secret_key_is_refused_in_words_for_people(write):
    with pytest.raises(config.SettingsError, match="must be at least 32 characters"):
        config.load(write(PVE402_SECRET_KEY="too short"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"pve.example.net\n",
        b"\x30\x82\x01\x0a",
        b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        b"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n",
    ],
    ids=["empty", "text", "DER", "cut", "a key"],
)
def test_a_file_without_a_certificate_is_no_authority(tmp_path, write, content):
    file = tmp_path / "ca.pem"
    file.write_bytes(content)

    with pytest.raises(config.SettingsError, match="PVE_CA_FILE: contains no certificate"):
        config.load(write(PVE_CA_FILE=str(file)))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("FACILITATOR_PRIVATE_KEY", "0x1234567890"),
        ("DATABASE_URL", "mysql://user:password@localhost/x"),
        ("PVE402_SECRET_KEY", "too-short-but-secret"),
    ],
)
def test_the_refusal_of_a_secret_does_not_repeat_it(write, variable, value):
    with pytest.raises(config.SettingsError) as raised:
        config.load(write(**{variable: value}))

    assert value not in str(raised.value)
    assert value not in repr(raised.value.__cause__)


@pytest.mark.parametrize(
    ("changes", "variable"),
    [
        ({"DATABASE_URL": "postgresql://u:p@db/x"}, "PVE402_SECRET_KEY"),
        ({"PVE_CONSOLE_MODE": "direct"}, "PVE_CONSOLE_HOST"),
        ({"CDP_API_KEY_ID": "id"}, "CDP_API_KEY_SECRET"),
        ({"PVE402_PEER_BIND": "0.0.0.0:4022"}, "PVE402_PEER_BIND"),
        ({"PVE402_PEER_BIND": "[::]:4022"}, "PVE402_PEER_BIND"),
        ({"NETWORK": "monad-testnet"}, "FACILITATOR_URL_MONAD_TESTNET"),
        ({"FACILITATOR_URL_BASE_SEPOLIA": "nonsense"}, "FACILITATOR_URL_BASE_SEPOLIA"),
    ],
)
def test_settings_that_disagree_name_the_variable_to_change(write, changes, variable):
    with pytest.raises(config.SettingsError) as raised:
        config.load(write(**changes))

    assert list(raised.value.problems) == [variable]


def test_a_network_can_have_addresses_of_its_own(write):
    settings = config.load(
        write(
            NETWORK="base,base-sepolia",
            RPC_URL="https://rpc.example.com",
            RPC_URL_BASE_SEPOLIA="http://127.0.0.1:8545/",
            FACILITATOR_URL_BASE="https://pay.example.com/x402",
        )
    )

    assert settings.network == ("eip155:8453", "eip155:84532")
    assert settings.rpc_url_of("eip155:84532") == "http://127.0.0.1:8545"
    assert settings.rpc_url_of("eip155:8453") == "https://rpc.example.com"
    assert settings.facilitator_url_of("eip155:8453") == "https://pay.example.com/x402"
    assert settings.facilitator_url_of("eip155:84532") == "https://www.x402.org/facilitator"


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("https://pay.example.com/x402?key=x", "https://pay.example.com/x402?key=x"),
        ("https://pay.example.com/x402/?key=ab/", "https://pay.example.com/x402?key=ab/"),
        ("https://pay.example.com?key=%2F&b=", "https://pay.example.com?key=%2F&b="),
        ("HTTPS://pay.example.com:8443/", "https://pay.example.com:8443"),
        ("  https://pay.example.com/v2//  ", "https://pay.example.com/v2"),
        ("http://[::1]:4022/?k=/", "http://[::1]:4022?k=/"),
    ],
)
def test_the_query_of_an_address_is_kept_as_it_was_written(write, written: str, kept: str):
    settings = config.load(write(FACILITATOR_URL=f"'{written}'", RPC_URL=f"'{written}'"))

    assert (settings.facilitator_url, settings.rpc_url) == (kept, kept)


def test_with_a_key_and_no_address_we_settle_ourselves(write):
    settings = config.load(write(FACILITATOR_PRIVATE_KEY="11" * 32))

    assert settings.facilitator_url_of("eip155:84532") is None


def test_the_environment_wins_over_the_file(write, monkeypatch):
    monkeypatch.setenv("PVE402_PORT", "5000")

    assert config.load(write(PVE402_PORT="6000")).pve402_port == 5000


def test_a_named_file_must_be_there(tmp_path):
    with pytest.raises(config.SettingsError, match="there is no file"):
        config.load(tmp_path / "absent.env")


def test_no_secret_stands_in_the_settings_text(write):
    secrets = {
        "PVE_ROOT_PASSWORD": "root-password-1",
        "FACILITATOR_PRIVATE_KEY": "0x" + "ab" * 32,
        "DATABASE_URL": "postgresql://user:db-password-2@db/x",
        "PVE402_SECRET_KEY": "secret-key-3-" + "x" * 32,
    }
    settings = config.load(write(**secrets))

    text = repr(settings) + str(settings)
    assert not [value for value in [*secrets.values(), "db-password-2"] if value in text]
    assert REQUIRED["PVE_TOKEN_SECRET"] not in text


def test_the_secret_key_is_made_once_and_private(write, tmp_path):
    settings = config.load(write(DATABASE_URL=f"sqlite:///{tmp_path}/leases.sqlite3"))

    first, second = config.secret_key(settings), config.secret_key(settings)

    assert first == second
    assert len(first) == 32
    file = tmp_path / "leases.sqlite3.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.glob("*.key*")) == [file]


def test_a_secret_key_that_cannot_be_kept_is_a_settings_error(write, tmp_path):
    (tmp_path / "leases.sqlite3.key").mkdir()
    settings = config.load(write(DATABASE_URL=f"sqlite:///{tmp_path}/leases.sqlite3"))

    with pytest.raises(config.SettingsError, match="PVE402_SECRET_KEY: cannot be kept"):
        config.secret_key(settings)


def test_a_missing_directory_is_the_fault_of_the_databases_address(write):
    settings = config.load(write(DATABASE_URL="sqlite:////nowhere/leases.sqlite3"))

    with pytest.raises(config.SettingsError, match="DATABASE_URL: there is no directory /nowhere"):
        config.secret_key(settings)


def test_a_key_that_is_not_to_be_made_leaves_no_file(write, tmp_path):
    settings = config.load(write(DATABASE_URL=f"sqlite:///{tmp_path}/leases.sqlite3"))

    config.secret_key(settings, make=False)

    assert not config.is_key_kept(settings)
    assert not list(tmp_path.glob("*.key*"))


def test_variables_that_look_mistyped_are_found(write, monkeypatch):
    for name in ("PVE402_WALLET_KEY", "PVE402_RPC_URL", "PVE402_LEDGER"):
        monkeypatch.setenv(name, "a tenant's own")
    file = write(PVE402_PUBLIK_URL="https://x.example.com", RPC_URL_BASE="http://localhost:1")

    found = config.unknown_variables(file)

    assert found == {"PVE402_PUBLIK_URL": "PVE402_PUBLIC_URL"}


@pytest.mark.parametrize(
    ("written", "origins"),
    [
        ("*", ("*",)),
        ("https://shop.example.com/", ("https://shop.example.com",)),
        ("HTTPS://Shop.Example.COM", ("https://shop.example.com",)),
        ("https://shop.example.com:443", ("https://shop.example.com",)),
        ("http://shop.example.com:80/", ("http://shop.example.com",)),
        ("http://shop.example.com:443", ("http://shop.example.com:443",)),
        ("http://[::0:1]:3000", ("http://[::1]:3000",)),
        ("https://b\u00fccher.example", ("https://xn--bcher-kva.example",)),
        ("https://fa\u00df.example", ("https://xn--fa-hia.example",)),
        ("http://\uff12.example", ("http://2.example",)),
        ("http://[::ffff:1.2.3.4]", ("http://[::ffff:102:304]",)),
        ("https://shop_1.example.com:0443", ("https://shop_1.example.com",)),
        ("https://shop.example.com.:8443", ("https://shop.example.com.:8443",)),
        ("http://a.test:80, http://A.test/ , https://b.test", ("http://a.test", "https://b.test")),
    ],
)
def test_origins_are_written_as_browsers_do(write, written: str, origins: tuple[str, ...]):
    assert config.load(write(PVE402_CORS_ORIGINS=written)).pve402_cors_origins == origins


@pytest.mark.parametrize(
    "written",
    [
        "shop.example.com",
        "*.example.com",
        "https://*.example.com",
        "https://shop.example.com/path",
        "https://shop.example.com/?a=b",
        "https://me:secret@shop.example.com",
        "ftp://shop.example.com",
        "null",
        "https://",
        "https://shop.example.com:99999",
        "*,https://a.example.com/x",
        "https://a b.example.com",
        "https://shop.example.com\\evil",
        'https://"shop".example.com',
        "https://shop%2eexample.com",
        "https://shop..example.com",
        f"https://{'a' * 64}.example.com",
        "http://0x7f.1",
        "http://127.1",
        "http://010.0.0.1",
        "http://[fe80::1%25eth0]",
        "https://shop.example.com:0",
    ],
)
def test_what_is_no_origin_is_refused(write, written: str):
    with pytest.raises(config.SettingsError, match="PVE402_CORS_ORIGINS") as refused:
        config.load(write(PVE402_CORS_ORIGINS=written))
    assert "secret" not in str(refused.value)


DATABASE = "postgresql://pve402:secret@db.example.com/pve402"


@pytest.mark.parametrize(
    "query",
    [
        "sslmode=require",
        "sslmode=verify-full&sslrootcert=/etc/ca.pem",
        "sslmode=require&channel_binding=prefer",
        "connect_timeout=10&application_name=pve402",
        "target_session_attrs=read-write",
        "ssl=require",
        "options=-c%20statement_timeout%3D5s",
        "keepalives=1&keepalives_idle=30",
        "prepared_statement_cache_size=0",
        "statement_cache_size=0",
        "timeout=5&command_timeout=60",
        "connect_timeout=0",
        "host=a.example.com:5432&host=b.example.com:5432&target_session_attrs=primary",
        "sslmode=verify-full&sslrootcert=system",
        "host=/var/run/postgresql",
    ],
)
def test_a_database_is_named_as_hosting_services_do(write, query: str):
    settings = config.load(write(DATABASE_URL=f"{DATABASE}?{query}", PVE402_SECRET_KEY="k" * 32))

    assert not settings.uses_sqlite


@pytest.mark.parametrize(
    "query",
    [
        "sslmode=yes",
        "channel_binding=require",
        "gssencmode=require",
        "connect_timeout=soon",
        "sslmod=require",
        "client_encoding=latin1",
        "timeout=abc",
        "statement_cache_size=-1",
        "prepared_statement_cache_size=x",
        "target_session_attrs=fastest",
        "ssl=maybe",
        "connect_timeout=99999999999",
        "host=a&host=b",
        "port=70000",
        "port=5432&port=5433",
    ],
)
def test_a_parameter_that_cannot_be_honoured_is_named(write, query: str):
    with pytest.raises(config.SettingsError, match=query.partition("=")[0]) as refused:
        config.load(write(DATABASE_URL=f"{DATABASE}?{query}", PVE402_SECRET_KEY="k" * 32))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://pve402:secret@a:5432,b:5432/pve402",
        "postgresql://pve402:secret@db.example.com:abc/pve402",
        "postgresql://pve402:secret@db.example.com:/pve402",
        "postgresql://pve402:secret@db.example.com:99999/pve402",
        "postgresql://pve402:secret@[::1/pve402",
        "mysql://pve402:secret@db.example.com/pve402",
    ],
)
def test_an_address_that_names_no_server_is_refused_in_plain_words(write, address: str):
    with pytest.raises(config.SettingsError, match="DATABASE_URL: must ") as refused:
        config.load(write(DATABASE_URL=address, PVE402_SECRET_KEY="k" * 32))
    assert "secret" not in str(refused.value)
    assert "literal" not in str(refused.value)
