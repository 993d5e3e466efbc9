"""Run the distribution's PostgreSQL server for a test session, and hand out fresh databases.

The server keeps everything in one temporary folder, listens on a unix socket there and nowhere
else, and forgets durability: it lives for minutes. PostgreSQL refuses to run as root, so under
root it gets the rights of an ordinary account.

Use the fixtures `postgres_server` (one a session, so one per xdist worker) and `postgres_url`
(an empty database of its own for each test). Most tests want the newest tables at once: they use
`migrated_url` of tests/support/migrated.py.
"""

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL, make_url

SUPERUSER = "pve402"
START_LIMIT_SECONDS = 60
UNPRIVILEGED_ACCOUNTS = ("postgres", "nobody")
FORGETFUL = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200")


class PostgresMissing(RuntimeError):
    """The PostgreSQL server of the distribution is not installed."""


@dataclass(kw_only=True)
class PostgresServer:
    """A running server, and the databases made on it so far."""

    programs: Path
    folder: Path
    account: str | None
    postmaster: subprocess.Popen[bytes] | None = None
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)

    def create_database(self) -> str:
        """Make an empty database and return its URL."""
        name = f"test_{next(self._numbers)}"
        self._sql(f'CREATE DATABASE "{name}" TEMPLATE template0')
        return self._url(name)

    def drop_database(self, url: str) -> None:
        """Remove the database, and whoever is still connected to it."""
        self._sql(f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')

    def _url(self, database: str) -> str:
        url = URL.create(
            "postgresql+asyncpg",
            username=SUPERUSER,
            database=database,
            query={"host": str(self.folder)},
        )
        return url.render_as_string(hide_password=False)

    def query(self, url: str, statements: str) -> str:
        """Run statements in one transaction on the database of that URL; the rows of the last."""
        return self._sql(statements, make_url(url).database or "")

    def _sql(self, statements: str, database: str = "postgres") -> str:
        where = ("-h", str(self.folder), "-U", SUPERUSER, "-d", database)
        return self.run("psql", *where, "-qAtc", statements)

    def start(self) -> None:
        """Start the postmaster and wait until it answers."""
        log_path = self.folder / "log"
        with log_path.open("ab") as log:
            self.postmaster = subprocess.Popen(
                [self.programs / "postgres", "-D", self.folder / "data", *_options(self)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                **_rights_of(self.account),
                start_new_session=True,  # Ctrl-C is for the tests; the server is stopped below
            )
        _wait_until_ready(self, self.postmaster, log_path)

    def stop(self, number: signal.Signals = signal.SIGQUIT) -> None:
        """Stop the postmaster: at once (SIGQUIT, as a crash does) or in order (SIGINT)."""
        if self.postmaster is not None:
            self.postmaster.send_signal(number)
            self.postmaster.wait(timeout=START_LIMIT_SECONDS)
            self.postmaster = None

    def initialise(self) -> None:
        """Make the files of an empty server, under its account."""
        data = ("-D", str(self.folder / "data"), "--encoding", "UTF8", "--no-sync")
        who = ("--username", SUPERUSER, "--auth", "trust")
        self.run("initdb", *data, *who, **_rights_of(self.account))

    def run(self, program: str, *arguments: str, **rights: Any) -> str:
        """Run one of PostgreSQL's programs; what it printed.

        Without rights of its own: Python copies its whole address space to take them.
        """
        done = subprocess.run(
            [self.programs / program, *arguments],
            capture_output=True,
            text=True,
            timeout=START_LIMIT_SECONDS,
            cwd=self.folder,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            **rights,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed: {done.stderr.strip()}")
        return done.stdout.strip()


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """Start a server in a new temporary folder; stop it and remove the folder at the end."""
    programs = _server_programs()
    folder = Path(tempfile.mkdtemp(prefix="pve402-pg-", dir="/tmp"))  # a socket path is short
    try:
        server = PostgresServer(programs=programs, folder=folder, account=_account())
        if server.account:
            shutil.chown(folder, server.account)
        server.initialise()
        try:
            server.start()
            yield server
        finally:
            server.stop()  # nothing of it is kept
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The session's PostgreSQL server."""
    with running_server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """URL (`postgresql+asyncpg://...`) of an empty database that is the test's own."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


def _server_programs() -> Path:
    """Folder of the newest server installed: Debian keeps each version's apart."""
    debian = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    found = sorted(debian, key=lambda path: int(path.parts[4]), reverse=True)
    on_path = shutil.which("initdb")
    if on_path:
        found.append(Path(on_path).resolve())
    if not found:
        raise PostgresMissing(
            "the PostgreSQL server is not installed: run `make setup`, or install the"
            " distribution's package `postgresql`"
        )
    return found[0].parent


def _account() -> str | None:
    """The account that runs the server: our own, or under root the first ordinary one."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in UNPRIVILEGED_ACCOUNTS if name in known)


def _rights_of(account: str | None) -> dict[str, Any]:
    """Arguments that make a subprocess run as the account, without our groups."""
    if account is None:
        return {}
    return {"user": account, "group": pwd.getpwnam(account).pw_gid, "extra_groups": []}


def _options(server: PostgresServer) -> list[str]:
    """Listen on the socket alone, and write nothing to disk that need not be there."""
    settings = [part for setting in FORGETFUL for part in ("-c", setting)]
    return ["-k", str(server.folder), "-h", "", *settings]


def _wait_until_ready(
    server: PostgresServer, process: subprocess.Popen[bytes], log_path: Path
) -> None:
    deadline = time.monotonic() + START_LIMIT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            server.run("pg_isready", "-h", str(server.folder), "-q")
        except RuntimeError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"PostgreSQL did not start: {log_path.read_text()[-2000:]}")
