"""Every program that may fetch an upload fetches it whole, or leaves nothing."""

import hashlib
import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pve402.hub import guest_scripts

DATA = os.urandom(3_000_000)
ALWAYS = ("sh", "cat", "wc", "head", "rm", "mv", "date", "stat", "chmod", "sha256sum", "sleep")
FETCHERS = ("curl", "wget", "busybox-wget", "python3", "perl")


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path not in {"/whole", "/cut"}:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        self.wfile.write(DATA if self.path == "/whole" else DATA[:1_000_000])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server of one file."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=FETCHERS)
def programs(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A PATH with one fetcher and what any guest has."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ALWAYS:
        (folder / name).symlink_to(shutil.which(name) or pytest.fail(f"no {name}"))
    name = request.param.removeprefix("busybox-")
    found = shutil.which("busybox" if name != request.param else name)
    if found is None:
        pytest.skip(f"this machine has no {name}")
    if name == "python3":  # a shim of pyenv needs more than itself
        (folder / name).write_text(f'#!/bin/sh\nexec {os.path.realpath(os.sys.executable)} "$@"\n')
        (folder / name).chmod(0o755)
    else:
        (folder / name).symlink_to(found)
    return folder


def pull(
    programs: Path, target: Path, url: str, boot: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the script as the hub does."""
    script = "\n".join(map(guest_scripts.source, ("fetch", "files")))
    words = ["/bin/sh", "-c", script, "sh", "pull", str(target), "new", url, boot]
    return subprocess.run(
        words, env={"PATH": str(programs)}, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_file_is_fetched_whole(programs: Path, tmp_path: Path, url: str) -> None:
    done = pull(programs, tmp_path / "file", f"{url}/whole")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{len(DATA)} {hashlib.sha256(DATA).hexdigest()}\n"
    assert (tmp_path / "new").read_bytes() == DATA
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


def test_without_a_file_there_the_target_stays(programs: Path, tmp_path: Path, url: str) -> None:
    (tmp_path / "file").write_text("before")

    done = pull(programs, tmp_path / "file", f"{url}/missing")

    assert done.returncode == 24
    assert pull(programs, tmp_path / "file", f"{url}/whole", done.stdout.strip()).returncode == 24
    assert pull(programs, tmp_path / "other", f"{url}/whole", "1").returncode == 0
    assert (tmp_path / "file").read_text() == "before"
    assert [file.name for file in tmp_path.glob("new")] == ["new"]


def test_what_was_cut_off_is_seen_by_its_size(programs: Path, tmp_path: Path, url: str) -> None:
    done = pull(programs, tmp_path / "file", f"{url}/cut")

    assert done.returncode == 24 or done.stdout.startswith("1000000 ")
    assert done.returncode == 0 or not (tmp_path / "new").exists()
