"""Load on a server of this machine: wrk, which ends by itself after some seconds."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.loopback import free_port

CONNECTIONS = 8
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_PERCENTILE = re.compile(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)$", re.MULTILINE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """A server under load."""

    url: str
    pid: int

    def cpu_seconds(self) -> float:
        """What its process has used of processors so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rate:
    """What a server made of a load.

    `cpu_us` is what one request cost it; where others use the machine too, that is steadier than
    the rate, which for one worker is at best its inverse.
    """

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float


def post(target: Target, path: str, body: Mapping[str, Any], seconds: int) -> Rate:
    """POST one JSON body again and again."""
    script = (
        'wrk.method = "POST"\n'
        'wrk.headers["Content-Type"] = "application/json"\n'
        f"wrk.body = [==[{json.dumps(body)}]==]\n"
    )
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        return _wrk(target, path, seconds, "-s", file.name)


def get(target: Target, path: str, seconds: int) -> Rate:
    """GET again and again."""
    return _wrk(target, path, seconds)


def _wrk(target: Target, path: str, seconds: int, *options: str) -> Rate:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", *options]
    limit, before = seconds + 30, target.cpu_seconds()
    said = subprocess.run(
        [*command, target.url + path], capture_output=True, text=True, check=True, timeout=limit
    )
    used = target.cpu_seconds() - before
    found = re.search(r"Requests/sec:\s+([\d.]+)", said.stdout)
    answered = re.search(r"(\d+) requests in", said.stdout)
    times = {
        which: float(value) * _UNITS[unit]
        for which, value, unit in _PERCENTILE.findall(said.stdout)
    }
    if found is None or answered is None or "Socket errors" in said.stdout:
        raise RuntimeError(f"the load did not go well: {said.stdout}")
    return Rate(
        per_second=float(found[1]),
        p50_ms=times["50"],
        p99_ms=times["99"],
        cpu_us=used / int(answered[1]) * 1e6,
    )


@contextmanager
def peer(kind: str, facilitator_url: str = "") -> Iterator[Target]:
    """Run one of `tests.bench.peers`; yields where it is."""
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.peers", kind, str(port), facilitator_url]
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(command, cwd=root, env=os.environ.copy())
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_up(url, process)
        yield Target(url=url, pid=process.pid)
    finally:
        process.terminate()
        process.wait(15)


def _wait_until_up(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(400):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"{url}/healthz", timeout=2)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"no answer from {url}")
