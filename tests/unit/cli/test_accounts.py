"""Services and wallets by name: where keys may be, and what is told."""

import contextlib
import json
import stat
from pathlib import Path

import pytest
import typer
from tests.support.tenant_service import KEY
from typer.testing import CliRunner, Result

from pve402 import client
from pve402.cli import account_work, credentials, everything, profile
from pve402.client import ledger, spending
from pve402.client.wallet import Wallet

ADDRESS = Wallet(KEY).address


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user who has nothing yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv(profile.KEY_VARIABLE, raising=False)
    return tmp_path


def run(*arguments: str, stdin: str = "") -> Result:
    app = typer.Typer()
    everything.add_to(app)
    return CliRunner().invoke(app, arguments, input=stdin)


def named(**changes: str) -> None:
    """Name two services and a wallet."""
    with profile.changed() as known:
        known.services["home"] = profile.KeptService(url="http://127.0.0.1:9", wallet="main")
        known.services["work"] = profile.KeptService(url="https://work.example.com")
        known.wallets["main"] = profile.KeptWallet(
            **{"address": ADDRESS, "source": "env", "where": "OTHER_KEY", **changes}
        )
        known.current = "home"


@pytest.mark.parametrize(
    ("variable", "url", "goes"),
    [
        ("https://one.example", "https://one.example:443", True),
        ("https://one.example", "http://127.0.0.1:9", False),
        ("home", "http://127.0.0.1:9", True),
        ("", "http://127.0.0.1:9", True),
        ("", "http://127.0.0.1:8", False),
    ],
)
async def test_a_token_of_the_environment_goes_to_its_service_only(
    monkeypatch, variable: str, url: str, goes: bool
):
    named()
    monkeypatch.setenv("PVE402_TOKEN", "t" * 40)
    monkeypatch.setenv("PVE402_URL", variable)
    monkeypatch.setenv(profile.KEY_VARIABLE, KEY)

    for caller in (credentials.holder(url, "t" * 40), credentials.buyer(url, "t" * 40)):
        async with caller:
            refused = pytest.raises(client.ServiceUnreachable)  # it signs in with the wallet
            with contextlib.nullcontext() if goes else refused:
                assert "t" * 40 in (await caller.authorization(None))["Authorization"]


def test_a_token_that_is_given_goes_anywhere(monkeypatch):
    monkeypatch.setenv("PVE402_URL", "https://one.example")

    assert credentials.holder("https://two.example", "given").can_sign_in


def test_a_new_wallet_has_a_key_that_only_the_user_can_read():
    made = json.loads(run("wallet", "new", "--json").stdout)

    file = Path(made["where"])
    key = file.read_text().strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(profile.path().stat().st_mode) == 0o600
    assert Wallet(key).address == made["address"]
    assert key not in run("wallet", "list").output
    assert key not in profile.path().read_text()
    assert run("wallet", "address").output.strip() == made["address"]


def test_a_wallet_is_not_made_twice():
    run("wallet", "new")
    before = profile.keys_file("main").read_text()

    again = run("wallet", "new")

    assert again.exit_code == 2
    assert profile.keys_file("main").read_text() == before


@pytest.mark.parametrize("name", ["../x", "", "-x", "a b", "x" * 64])
def test_a_name_is_no_path(name: str):
    assert run("wallet", "new", "--", name).exit_code == 2


@pytest.mark.parametrize(
    ("source", "where"), [("file", "key"), ("env", "OTHER_KEY"), ("command", "printf %s " + KEY)]
)
def test_a_key_is_fetched_from_where_it_is(monkeypatch, home: Path, source: str, where: str):
    monkeypatch.setenv("OTHER_KEY", KEY)
    (home / "key").write_text(KEY + "\n")
    (home / "key").chmod(0o600)
    place = str(home / where) if source == "file" else where

    kept = profile.KeptWallet.model_validate({"address": "", "source": source, "where": place})

    assert profile.key_of(kept) == KEY


@pytest.mark.parametrize(
    ("source", "where", "said"),
    [
        ("file", "open", "chmod 600"),
        ("file", "none", "No such file"),
        ("env", "NOT_SET_AT_ALL", "NOT_SET_AT_ALL has no private key"),
        ("command", "false", "failed"),
        ("command", "'", "failed"),
        ("command", "echo secret-words", "no private key"),
    ],
)
def test_a_key_that_cannot_be_had_is_told_without_its_text(home: Path, source, where, said):
    (home / "open").write_text(KEY)
    (home / "open").chmod(0o644)
    place = str(home / where) if source == "file" else where
    kept = profile.KeptWallet.model_validate({"address": "", "source": source, "where": place})

    with pytest.raises(client.KeyInvalid, match=said) as refused:
        profile.key_of(kept)

    assert KEY not in str(refused.value)
    assert "secret-words" not in str(refused.value)


def test_services_are_chosen_by_name_and_forgotten_with_their_tokens():
    named()
    one = client.held.Held(lease_id="l" + "0" * 25, ctid="", hostname="web", token="t" * 20)
    client.held.Leases().keep("http://127.0.0.1:9", one)

    chosen = run("use", "work")
    before, current = profile.url_of("home"), profile.url_of("")
    gone = run("logout", "home")

    assert (chosen.exit_code, gone.exit_code) == (0, 0)
    assert (before, current) == ("http://127.0.0.1:9", "https://work.example.com")
    assert list(profile.load().services) == ["work"]
    assert client.held.Leases().of("http://127.0.0.1:9") == []
    assert run("use", "home").exit_code == 2


def test_without_a_name_the_local_service_is_meant():
    assert profile.url_of("") == profile.LOCAL_URL
    assert profile.url_of("https://x.example") == "https://x.example"


def test_the_environments_key_goes_before_a_kept_one(monkeypatch):
    named(where="NOT_SET_AT_ALL")
    monkeypatch.setenv(profile.KEY_VARIABLE, "0x" + "b2" * 32)

    assert run("wallet", "address").output.strip() == Wallet("0x" + "b2" * 32).address


def test_a_login_that_fails_keeps_nothing():
    done = run("login", "http://127.0.0.1:9", "--key-file", "-", stdin=KEY)

    assert done.exit_code == 7
    assert not profile.keys_file("main").exists()
    assert run("wallet", "new").exit_code == 0


def test_a_key_is_never_replaced(home: Path):
    account_work.save_key("main", KEY)

    with pytest.raises(typer.Exit):
        account_work.save_key("main", "0x" + "b2" * 32)

    assert account_work.save_key("main", KEY).address == ADDRESS
    assert profile.keys_file("main").read_text().strip() == KEY
    assert len(list(profile.keys_file("main").parent.iterdir())) == 1


def test_another_key_takes_no_wallets_name(monkeypatch):
    named()
    monkeypatch.setenv("NEW_KEY", "0x" + "b2" * 32)
    words = ("login", "http://127.0.0.1:9", "--wallet", "main", "--key-env", "NEW_KEY")

    done = run(*words)

    assert (done.exit_code, ADDRESS in done.stderr) == (2, True)
    monkeypatch.setenv("NEW_KEY", KEY)
    assert run(*words).exit_code == 7


def test_a_key_in_place_of_a_variables_name_is_not_shown():
    done = run("login", "http://127.0.0.1:9", "--key-env", KEY)

    assert done.exit_code == 2
    assert KEY not in done.output + done.stderr


def test_limits_are_kept_and_shown():
    assert run("wallet", "limits", "--per-hour", "0.5", "--in-all", "2").exit_code == 0
    run("wallet", "limits", "--per-hour", "none", "--per-call", "0.01")

    shown = json.loads(run("wallet", "limits", "--json").stdout)
    assert shown == {"perCallUsd": "0.01", "perHourUsd": None, "inAllUsd": "2.00"}
    assert run("wallet", "limits", "--in-all", "much").exit_code == 2


def test_what_was_spent_is_shown(monkeypatch):
    monkeypatch.setenv("PVE402_RPC_URL", "http://127.0.0.1:9")
    book = ledger.Ledger()
    terms = spending.Terms(
        service="https://rent.example.com",
        what="/lease/container",
        payer=ADDRESS.lower(),
        network="eip155:84532",
        asset="0x" + "0c" * 20,
        amount_atomic=2640,
        decimals=6,
    )
    payment = book.reserve(terms)
    book.note_sent(payment, spending.Signed(nonce="0x" + "01" * 32, valid_before=2**40))

    shown = run("wallet", "spent", "--json")
    told = run("wallet", "spent")

    facts = json.loads(shown.stdout)
    assert (facts["inAllUsd"], facts["openUsd"]) == ("0.00264", "0.00264")
    assert facts["payments"][0]["state"] == "sent"
    assert "not known yet" in told.stdout
    assert "Connection refused" in told.stderr


def test_a_spoiled_profile_is_told(home: Path):
    profile.path().parent.mkdir(parents=True)
    profile.path().write_text("{")

    done = run("services")

    assert done.exit_code == 2
    assert "mend or remove it" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(shell: str):
    done = run("completion", shell)

    assert done.exit_code == 0
    assert "_PVE402_COMPLETE" in done.stdout


def test_leases_are_completed_by_name(monkeypatch):
    from typer.completion import completion_init

    named()
    one = client.held.Held(lease_id="l" + "0" * 25, ctid="", hostname="web", token="t" * 20)
    client.held.Leases().keep("http://127.0.0.1:9", one)
    completion_init()
    app = typer.Typer(add_completion=False)
    everything.add_to(app)
    words = {"COMP_WORDS": "pve402 exec w", "COMP_CWORD": "2"}

    done = CliRunner().invoke(
        app, [], prog_name="pve402", env={"_PVE402_COMPLETE": "complete_bash", **words}
    )

    assert done.stdout.split() == ["web"]
