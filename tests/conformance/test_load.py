"""A load from wrk: the service answers what it should, drops nothing, and is well afterwards."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import requests
from tests.support.api_fixtures import BODY
from tests.support.processes import ServeProcess

SCRIPT = Path(__file__).with_name("load.lua")
WRK = shutil.which("wrk")
SECONDS = 5

pytestmark = pytest.mark.skipif(WRK is None, reason="wrk is not installed: apt-get install wrk")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/catalogue", None, 200),
        ("GET", "/stats/node", None, 200),
        ("GET", "/management/list", None, 402),
        ("POST", "/lease/quote", BODY, 200),
        ("POST", "/lease/container", BODY, 402),
        ("POST", "/lease/container", {**BODY, "cores": -1}, 422),
    ],
)
def test_a_load_is_answered_as_a_single_request_is(
    service: ServeProcess, tmp_path: Path, method: str, path: str, body: object, status: int
):
    said = _load(service.url + path, _script(tmp_path, method, body))

    counted = {int(k): int(v) for k, v in re.findall(r"(\d+)=(\d+)", _line(said, "statuses"))}
    assert set(counted) == {status}, said
    assert _line(said, "errors") == "errors connect=0 read=0 write=0 timeout=0"
    assert service.ready()
    print(method, path, status, _line(said, "rate"), _line(said, "latency_us"))


def test_more_than_is_allowed_is_refused_and_forgotten(service: ServeProcess):
    _load(f"{service.url}/catalogue", SCRIPT, connections=1000)

    assert requests.get(f"{service.url}/catalogue", timeout=30).status_code == 200


def _load(url: str, script: Path, connections: int = 64) -> str:
    assert WRK is not None
    command = [
        WRK,
        "-t",
        "1",
        "-c",
        str(connections),
        "-d",
        f"{SECONDS}s",
        "--timeout",
        "20s",
        "-s",
        str(script),
        url,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    return done.stdout


def _script(folder: Path, method: str, body: object) -> Path:
    lines = [f'wrk.method = "{method}"']
    if body is not None:
        lines += [
            f"wrk.body = [[{json.dumps(body)}]]",
            'wrk.headers["Content-Type"] = "application/json"',
        ]
    script = folder / "load.lua"
    script.write_text("\n".join([*lines, SCRIPT.read_text()]))
    return script


def _line(said: str, start: str) -> str:
    return next(line for line in said.splitlines() if line.startswith(start))
