"""What suites others wrote for x402 say of a running service and of the devnet's facilitator."""

import subprocess

from tests.support import project
from tests.support.processes import DevnetProcess, ServeProcess

PROGRAM = project.ROOT / ".venv-conformance/bin/x402conf"
PAID_PATHS = (
    "/management/list",
    "/stats/lxc",
    "/lease/10000",
    "/management/exec/10000",
    "/management/exec/10000/e0123456789",
    "/management/files/10000",
)


def test_x402_conformance_of_unpaid_answers(service: ServeProcess):
    urls = [service.url + path for path in PAID_PATHS]

    said = _run("resource", "--fail-on-error", *urls)

    assert said.count("P1") >= len(urls), said


def test_x402_conformance_of_the_devnets_facilitator(devnet: DevnetProcess):
    _run("live", "--fail-on-error", devnet.settings["FACILITATOR_URL"])


def _run(*arguments: str) -> str:
    done = subprocess.run(
        [PROGRAM, *arguments], capture_output=True, text=True, timeout=100, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
