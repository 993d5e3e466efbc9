"""`pve402 serve` as a process: how it starts, how it ends, and what connections may do to it."""

import contextlib
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
import requests
from tests.support import processes
from tests.support.api_fixtures import BODY
from tests.support.processes import ServeProcess


def test_a_bad_setting_is_named_and_ends_with_2(tmp_path):
    done = processes.run("serve", "--env-file", str(tmp_path / "absent.env"))
    empty = processes.run("serve", PVE_HOST="http://pve.example.com")

    assert (done.returncode, empty.returncode) == (2, 2)
    assert "absent.env" in done.stderr
    assert "PVE_HOST: plain http would expose the credentials" in empty.stderr
    assert "PAY_TO: missing" in empty.stderr
    assert "Example: PAY_TO=0x" in empty.stderr


def test_a_bad_catalogue_is_named_and_ends_with_2(devnet, tmp_path):
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text("[sku.free]\ncores = 1\n")

    done = processes.run(
        "serve", "--env-file", str(devnet.env_file), PVE402_CATALOGUE=str(catalogue)
    )

    assert done.returncode == 2
    assert f"PVE402_CATALOGUE: {catalogue}: sku.free" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0(serve: Callable[..., ServeProcess], number: int):
    service = serve()

    assert service.process.end(number) == 0
    assert "Traceback" not in service.process.said()


def test_a_second_process_on_one_sqlite_file_refuses_to_start(
    serve: Callable[..., ServeProcess], devnet, tmp_path
):
    database = {"DATABASE_URL": f"sqlite:///{tmp_path}/one.sqlite3"}
    serve(**database)

    second = processes.run(
        "serve", "--env-file", str(devnet.env_file), "--port", "4999", **database
    )

    assert second.returncode == 3
    assert "is open in another process" in second.stderr


def test_a_taken_port_is_said_and_is_no_success(service: ServeProcess, tmp_path):
    port = str(urlsplit(service.url).port)

    second = processes.run(
        "serve",
        "--env-file",
        str(service.devnet.env_file),
        "--port",
        port,
        DATABASE_URL=f"sqlite:///{tmp_path}/two.sqlite3",
    )

    assert second.returncode not in {0, 2}
    assert "address already in use" in second.stderr


def test_a_taken_port_of_metrics_is_said_in_a_sentence(service: ServeProcess, tmp_path):
    taken = f"127.0.0.1:{urlsplit(service.url).port}"

    done = processes.run(
        "serve",
        "--env-file",
        str(service.devnet.env_file),
        PVE402_METRICS_BIND=taken,
        DATABASE_URL=f"sqlite:///{tmp_path}/two.sqlite3",
    )

    assert done.returncode == 3
    assert f"PVE402_METRICS_BIND: {taken}: Address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_key_that_does_not_open_the_database_is_said_and_ends_with_2(
    serve: Callable[..., ServeProcess], tmp_path
):
    database = {"DATABASE_URL": f"sqlite:///{tmp_path}/leases.sqlite3"}
    first = serve(**database)
    bought = first.tenant().post(f"{first.url}/lease/container", json=BODY, timeout=60)
    env_file = str(first.devnet.env_file)
    first.process.end()

    other = {"PVE402_SECRET_KEY": "o" * 32, **database}
    done = processes.run("serve", "--env-file", env_file, **other)

    assert bought.status_code == 200
    assert done.returncode == 2
    assert "PVE402_SECRET_KEY" in done.stderr
    assert "Traceback" not in done.stderr


def test_leases_survive_a_restart(serve: Callable[..., ServeProcess], tmp_path):
    database = {"DATABASE_URL": f"sqlite:///{tmp_path}/kept.sqlite3"}
    first = serve(**database)
    bought = first.tenant().post(f"{first.url}/lease/container", json=BODY, timeout=60).json()
    first.process.end()

    second = serve(**database)
    bearer = {"Authorization": f"Bearer {bought['accessToken']}"}
    shown = requests.get(f"{second.url}/lease/{bought['ctid']}", headers=bearer, timeout=30)

    assert shown.json()["leaseId"] == bought["leaseId"]


def test_metrics_have_an_address_of_their_own(serve: Callable[..., ServeProcess]):
    bind = f"127.0.0.1:{processes.free_port()}"
    service = serve(PVE402_METRICS_BIND=bind)
    requests.get(f"{service.url}/catalogue", timeout=30)

    shown = requests.get(f"http://{bind}/metrics", timeout=30).text

    assert 'pve402_http_answers_total{route="/catalogue",status="200"} 1.0' in shown
    assert requests.get(f"{service.url}/metrics", timeout=30).status_code == 404


def test_a_mistyped_setting_is_warned_about(serve: Callable[..., ServeProcess]):
    service = serve(PVE402_GRACE_HOUR="1")

    said = service.process.said()

    assert "unknown_setting" in said
    assert "PVE402_GRACE_HOURS" in said


def test_a_head_without_end_is_refused(service: ServeProcess):
    with _connected(service) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX-Endless: ")
        answer = _flood(connection, b"a" * 4096, 64)

    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431")) or answer == b"closed"
    assert service.alive()


def test_many_headers_without_end_are_refused(service: ServeProcess):
    with _connected(service) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        answer = _flood(connection, b"X-One: more\r\n" * 300, 64)

    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431")) or answer == b"closed"
    assert service.alive()


def test_no_bytes_of_nonsense_end_the_service(service: ServeProcess):
    for nonsense in (
        b"\x00" * 100,
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"POST / HTTP/9\r\n\r\n",
    ):
        with _connected(service) as connection:
            connection.sendall(nonsense)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(4096)

    assert service.alive()


def test_a_low_limit_of_open_files_is_raised(serve: Callable[..., ServeProcess]):
    with _few_files(256):
        service = serve()

    with contextlib.ExitStack() as idle:
        for _ in range(300):
            idle.enter_context(_connected(service))

        assert service.alive()


@contextlib.contextmanager
def _few_files(soft: int) -> Iterator[None]:
    """Give processes started within the block a low soft limit, as supervisors do."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def _connected(service: ServeProcess) -> socket.socket:
    address = urlsplit(service.url)
    return socket.create_connection((address.hostname, address.port), timeout=30)


def _flood(connection: socket.socket, piece: bytes, times: int) -> bytes:
    """Send a piece over and over; the answer, or `closed` if the connection was cut."""
    try:
        for _ in range(times):
            connection.sendall(piece)
        return connection.recv(4096)
    except (BrokenPipeError, ConnectionResetError):
        return b"closed"
