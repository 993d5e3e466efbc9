"""`pve402 publish`, `ports` and `unpublish` as a tenant uses them."""

from __future__ import annotations

import json
import subprocess

from tests.support import processes
from tests.support.port_names import Port


def run(named: Port, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command on the container."""
    container = named.container
    settings = {"PVE402_URL": container.service.url, "PVE402_TOKEN": container.token}
    return processes.run(words[0], container.ctid, *words[1:], **settings)


def test_a_port_is_published_listed_opened_and_withdrawn(named: Port):
    made = run(named, "publish", "8090", "--for", "2h")
    assert made.returncode == 0, made.stderr
    assert f"http://8090-{named.container.lease_id}.ports.localhost" in made.stdout
    assert "/.pve402/login#" in made.stderr
    public = json.loads(run(named, "publish", "8090", "--public", "--json").stdout)
    listed = json.loads(run(named, "ports", "--json").stdout)
    assert {**public, "expiresAt": None} in listed
    assert "8090  public" in run(named, "ports").stdout
    assert "/.pve402/login#" in run(named, "ports", "--login", "8090").stdout
    left = json.loads(run(named, "unpublish", "8090", "--json").stdout)

    assert left == [item for item in listed if item["port"] != 8090]
    again = run(named, "unpublish", "8090")
    assert (again.returncode, "not any more" in again.stderr) == (4, True)


def test_a_time_that_is_none_is_refused(named: Port):
    for wrong in ("1", "h", "0m", "1w", "-1h"):
        done = run(named, "publish", "8090", f"--for={wrong}")
        assert (done.returncode, "30m, 1h or 7d" in done.stderr) == (2, True)
