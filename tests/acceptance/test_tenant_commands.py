"""The tenants' commands against a running service, with their exit codes."""

import json
from pathlib import Path

import pytest
from tests.support import processes
from tests.support.processes import ServeProcess

OFFER = ("--minutes", "5", "--memory-mb", "256", "--disk-gb", "4")


@pytest.fixture
def settings(service: ServeProcess) -> dict[str, str]:
    """Address and wallet of a tenant, as the commands read them."""
    account = service.devnet.wallet(1_000_000)
    return {
        "PVE402_URL": service.url,
        "PVE402_WALLET_KEY": "0x" + account.key.hex().removeprefix("0x"),
        "PVE402_ROOT_PASSWORD": "a-good-password",
    }


def test_a_lease_from_quote_to_end(settings: dict[str, str]):
    quoted = _json("quote", *OFFER, **settings)
    bought = _json("lease", "--hostname", "demo", "--max-usd", "0.01", *OFFER, **settings)
    ctid = bought["ctid"]
    renewed = _json("renew", ctid, "--minutes", "5", "--max-usd", "0.01", **settings)
    (listed,) = _json("list", **settings)
    shown = _json("show", ctid, "--wait", "30", **settings)
    ended = _json("end", ctid, "--yes", **settings)

    assert bought["addresses"] == shown["addresses"] == listed["addresses"]
    assert [one["source"] for one in shown["addresses"]] == ["seen"]
    assert bought["amount"] == quoted["accepts"][0]["amount"]
    assert renewed["expiresAt"] > bought["expiresAt"]
    assert listed["leaseId"] == bought["leaseId"]
    assert ended["status"] in {"stopping", "stopped", "ended"}


def test_a_token_lists_and_ends_without_a_key(settings: dict[str, str]):
    bought = _json("lease", "--hostname", "demo", "--max-usd", "0.01", *OFFER, **settings)
    holder = {"PVE402_URL": settings["PVE402_URL"], "PVE402_TOKEN": bought["accessToken"]}

    (listed,) = _json("list", **holder)
    ended = _json("end", bought["leaseId"], "--yes", **holder)

    assert listed["ctid"] == bought["ctid"]
    assert ended["leaseId"] == bought["leaseId"]


@pytest.mark.parametrize(
    ("command", "changes", "code", "said"),
    [
        (("lease", "--hostname", "demo", "--max-usd", "0.001"), {}, 3, "cap"),
        (("lease", "--hostname", "demo"), {}, 2, "--max-usd"),
        (("lease", "--hostname", "a_b", "--max-usd", "1"), {}, 2, "invalid_hostname"),
        (("lease", "--hostname", "demo", "--max-usd", "x"), {}, 2, "--max-usd"),
        (("list",), {"PVE402_WALLET_KEY": " "}, 2, "PVE402_WALLET_KEY"),
        (("end", "99999", "--yes"), {}, 4, "lease_not_found"),
        (("quote", "--cores", "600"), {}, 2, "out_of_bounds"),
        (("list",), {"PVE402_TOKEN": "x" * 40}, 4, "unauthenticated"),
        (("quote",), {"PVE402_URL": "http://127.0.0.1:9"}, 7, "127.0.0.1:9: Connection refused"),
        (("quote",), {"PVE402_URL": "127.0.0.1:4021"}, 2, "http://"),
        (("quote",), {"PVE402_URL": "ftp://x"}, 2, "http://"),
        (("list",), {"PVE402_WALLET_KEY": "0x12"}, 2, "PVE402_WALLET_KEY is not a private key"),
        (("list",), {"PVE402_WALLET_KEY": "0x" + "0" * 64}, 2, "private key"),
        (("lease", "--hostname", "demo", "--ssh-key", "/none"), {}, 2, "/none: No such file"),
    ],
)
def test_what_goes_wrong_has_its_exit_code(settings, command, changes, code, said):
    done = processes.run(*command, **{**settings, **changes})

    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_wallet_is_told_that_it_is(service: ServeProcess, settings: dict[str, str]):
    poor = service.devnet.wallet(0)
    key = {"PVE402_WALLET_KEY": "0x" + poor.key.hex().removeprefix("0x")}

    done = processes.run(
        "lease", "--hostname", "demo", "--max-usd", "1", *OFFER, **{**settings, **key}
    )

    assert done.returncode == 3
    assert "holds too little" in done.stderr


def test_a_private_ssh_key_is_not_sent(settings: dict[str, str], tmp_path: Path):
    file = tmp_path / "id_ed25519"
    file.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")

    done = processes.run("lease", "--hostname", "demo", "--ssh-key", str(file), **settings)

    assert done.returncode == 2
    assert "id_ed25519.pub" in done.stderr


def test_the_table_of_leases_can_be_read_by_people(settings: dict[str, str]):
    bought = _json("lease", "--hostname", "for-people", "--max-usd", "0.01", *OFFER, **settings)

    done = processes.run("list", **settings, COLUMNS="80")

    assert done.returncode == 0
    assert "for-people" in done.stdout
    assert bought["leaseId"] in done.stdout


def _json(*command: str, **settings: str):
    done = processes.run(*command, "--json", **settings)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_end_needs_a_yes_where_nobody_can_be_asked(settings: dict[str, str]):
    bought = _json("lease", "--hostname", "kept", "--max-usd", "0.01", *OFFER, **settings)

    done = processes.run("end", bought["ctid"], **settings)
    (listed,) = _json("list", **settings)

    assert (done.returncode, "--yes" in done.stderr) == (2, True)
    assert listed["status"] == "active"


@pytest.mark.parametrize("options", [(), ("--all",)])
def test_an_empty_list_says_so(settings: dict[str, str], options: tuple[str, ...]):
    done = processes.run("list", *options, **settings)

    assert (done.returncode, done.stdout) == (0, "")
    assert "lease" in done.stderr


def test_an_ambiguous_name_is_refused_with_candidates(settings: dict[str, str]):
    bought = [
        _json("lease", "--hostname", "twin", "--max-usd", "0.01", *OFFER, **settings)
        for _ in range(2)
    ]

    done = processes.run("end", "twin", "--yes", **settings)
    made = _json("token", bought[0]["leaseId"], **settings)

    assert done.returncode == 2
    assert all(lease["ctid"] in done.stderr for lease in bought)
    assert made["leaseId"] == bought[0]["leaseId"]
