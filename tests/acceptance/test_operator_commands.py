"""`pve402 ops` as a process: what it prints where."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.support import processes
from tests.support.processes import DevnetProcess, ServeProcess


def test_a_lost_key_is_asked_for_and_not_made_anew(devnet: DevnetProcess, tmp_path: Path):
    database = {"DATABASE_URL": f"sqlite:///{tmp_path}/leases.sqlite3"}

    done = processes.run("ops", "rebuild", "--env-file", str(devnet.env_file), **database)

    assert done.returncode == 2
    assert "PVE402_SECRET_KEY: neither set nor in a file" in done.stderr
    assert not list(tmp_path.iterdir())


def test_beside_a_database_the_doctor_makes_no_key_of_its_own(
    devnet: DevnetProcess, tmp_path: Path
):
    (tmp_path / "leases.sqlite3").touch()
    database = {"DATABASE_URL": f"sqlite:///{tmp_path}/leases.sqlite3"}

    done = processes.run("ops", "doctor", "--deep", "--env-file", str(devnet.env_file), **database)

    assert done.returncode == 1
    assert "FAIL secret key: is not there yet" in done.stdout
    assert [file.name for file in tmp_path.iterdir()] == ["leases.sqlite3"]


def test_without_a_database_nothing_is_made_and_a_rebuild_shows_what_it_would_write(
    devnet: DevnetProcess, tmp_path: Path
):
    chosen = {"DATABASE_URL": f"sqlite:///{tmp_path}/x.sqlite3", "PVE402_SECRET_KEY": "k" * 32}
    env_file = str(devnet.env_file)

    done = {
        command: processes.run("ops", command, "--env-file", env_file, **chosen)
        for command in ("rebuild", "reconcile", "leases", "revenue")
    }

    assert {command: it.returncode for command, it in done.items()} == {
        "rebuild": 0,
        "reconcile": 2,
        "leases": 2,
        "revenue": 2,
    }
    assert "DATABASE_URL: there are no pve402 tables" in done["leases"].stderr
    assert not list(tmp_path.iterdir())


def test_standard_output_has_the_answer_and_nothing_else(
    serve: Callable[..., ServeProcess], tmp_path: Path
):
    database = {"DATABASE_URL": f"sqlite:///{tmp_path}/leases.sqlite3"}
    service = serve(**database)
    env_file = str(service.devnet.env_file)

    revenue = processes.run(
        "ops", "revenue", "--env-file", env_file, "--output", "json", **database
    )
    reconciled = processes.run("ops", "reconcile", "--env-file", env_file, **database)

    assert json.loads(revenue.stdout) == []
    assert reconciled.stdout == "0 current leases, 0 guests with our tag\n"
    assert "certificate_not_verified" in reconciled.stderr
    assert "proxmox.call" not in reconciled.stderr
    assert "catalogue_on_sale" not in reconciled.stderr
