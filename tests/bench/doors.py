"""From nothing to a shell in a rented container: by commands, Python, MCP, E2B's SDK, a browser.

"Nothing" is a home with a wallet and no running program of ours, before and after the install. The
devnet's work takes no time, so what is measured is what we take ourselves. And what the base
install weighs.
"""

import asyncio
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from eth_account import Account
from tests.bench import rows
from tests.support import browser, console_pages, e2b_gateway, mcp_clients, processes, project
from tests.support.browser_wallet import BrowserWallet

TURNS = 3
_PYTHON = """
import sys, pve402
with pve402.Box.lease(sys.argv[1], minutes=5, max_usd="0.05", ends_on_exit=False) as box:
    print(box.run("echo usable").stdout, end="")
"""
_E2B = """
from e2b import Sandbox
print(Sandbox.create(timeout=300).commands.run("echo usable").stdout, end="")
"""
Way = Callable[[processes.ServeProcess, Path, str], None]


def measure(folder: Path) -> list[rows.Row]:
    """Go each way some times, and install once."""
    with (
        processes.running_devnet(folder) as devnet,
        processes.serving(folder, devnet) as service,
    ):
        taken = {
            name: [_timed(way, service, folder) for _ in range(TURNS)] for name, way in WAYS.items()
        }
    installed = {name: _installed(folder, name) for name in ("tenant", "mcp", "e2b")}
    ways = [
        rows.Row(
            what=f"nothing to a shell in a rented box, by {name}",
            ours=f"{median(seconds for seconds, _ in turns):.1f} s,"
            f" {median(cpu for _, cpu in turns):.1f} s CPU",
            beside=f"the install of {' and '.join(_LISTS[name])}.txt before",
            peer=f"{sum(installed[each].seconds for each in _LISTS[name]):.0f} s",
            ratio="-",
            aim="< 10 s, with the install < 60 s",
        )
        for name, turns in taken.items()
        if name in _LISTS
    ]
    return [*ways, _by_browser_row(taken["a browser"]), *_weight(installed["tenant"])]


def _by_browser_row(turns: list[tuple[float, float]]) -> rows.Row:
    return rows.Row(
        what="nothing to a shell in a rented box, by a browser",
        ours=f"{median(seconds for seconds, _ in turns):.1f} s, 3 clicks",
        beside="no install; the wallet answers at once",
        peer="-",
        ratio="-",
        aim="< 10 s",
    )


def _weight(installed: "Installed") -> list[rows.Row]:
    bare = _run_seconds("-c", "pass")
    told = (
        ("`import pve402`", ("-c", "import pve402"), "< 0.3 s"),
        ("`pve402 --help`", ("-m", "pve402", "--help"), "< 0.4 s"),
    )
    size = f"{installed.packages} packages beside pve402, {installed.size_mb:.0f} MB"
    return [
        *(
            rows.Row(
                what=what,
                ours=f"{_run_seconds(*words):.2f} s",
                beside="a bare Python",
                peer=f"{bare:.2f} s",
                ratio="-",
                aim=aim,
            )
            for what, words, aim in told
        ),
        rows.Row(what="base install", ours=size, beside="-", peer="-", ratio="-", aim="-"),
    ]


def _run_seconds(*words: str) -> float:
    """The median of some runs of Python, after one that fills the caches."""
    taken = []
    for _ in range(2 * TURNS + 1):
        began = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        taken.append(time.perf_counter() - began)
    return median(taken[1:])


def _timed(way: Way, service: processes.ServeProcess, folder: Path) -> tuple[float, float]:
    """Seconds of the clock, and of a processor for all programs but the service."""
    home = folder / f"home-{time.monotonic_ns()}"
    home.mkdir()
    key = f"0x{service.devnet.wallet(1_000_000).key.hex()}"
    began, used = time.perf_counter(), _cpu_seconds()
    way(service, home, key)
    return time.perf_counter() - began, _cpu_seconds() - used


def _cpu_seconds() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in both)


def _by_commands(service: processes.ServeProcess, home: Path, key: str) -> None:
    settings = {**_at(home), "PVE402_WALLET_KEY": key, "PVE402_URL": service.url}
    settings["PVE402_ROOT_PASSWORD"] = "correct horse battery"
    processes.run("lease", "--hostname", "box", "--max-usd", "0.05", "--minutes", "5", **settings)
    _check(processes.run("exec", "box", "--", "echo", "usable", **settings).stdout)


def _by_python(service: processes.ServeProcess, home: Path, key: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PYTHON, service.url],
        env={**os.environ, **_at(home), "PVE402_WALLET_KEY": key},
        capture_output=True,
        text=True,
        check=True,
    )
    _check(done.stdout)


def _by_mcp(service: processes.ServeProcess, home: Path, key: str) -> None:
    async def ask() -> str:
        async with mcp_clients.agent(service.url, home, key=key) as agent:
            await agent.call("lease", name="box", minutes=5, max_usd=0.05)
            ran = await agent.call("run", lease="box", command="echo usable")
            return str(ran["from_container"]["stdout"])

    _check(asyncio.run(ask()))


def _by_e2b(service: processes.ServeProcess, home: Path, key: str) -> None:
    with e2b_gateway.command(service, home, key=key) as gateway:
        _check(gateway.program(_E2B).stdout)


def _by_browser(service: processes.ServeProcess, home: Path, key: str) -> None:
    account = Account.from_key(key)
    with browser.chromium(home) as context:
        page = context.new_page()
        wallet = BrowserWallet(page=page, devnet=service.devnet, account=account).put_in()
        page.goto(service.url)
        page.click("#pay:enabled")
        page.locator("dialog.review").get_by_role("button", name="Go on").click()
        page.get_by_text("running", exact=True).wait_for(timeout=console_pages.LIMIT_MS)
        with context.expect_page() as opened:
            page.click("#terminal")
        console_pages.connected(opened.value)
    if len(wallet.signed) != 1:
        raise RuntimeError("the wallet signed more or less than one payment")


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A list's packages in a new environment: how long they took, how many, how large."""

    seconds: float
    packages: int
    size_mb: float


def _installed(folder: Path, name: str) -> Installed:
    """Install a list's packages into a new environment, all of them downloaded."""
    place = folder / f"venv-{name}"
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    subprocess.run(
        [
            *(place / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-cache-dir"),
            *("--no-deps", "--require-hashes", "--requirement"),
            project.ROOT / "requirements" / f"{name}.txt",
        ],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    seconds = time.perf_counter() - began
    (site,) = (place / "lib").glob("python*/site-packages")
    own = [path for path in site.iterdir() if not path.name.startswith(("pip", "setuptools"))]
    files = [file for path in own for file in (path, *path.rglob("*")) if file.is_file()]
    found = Installed(
        seconds=seconds,
        packages=sum(path.suffix == ".dist-info" for path in own),
        size_mb=sum(file.stat().st_size for file in files) / 1e6,
    )
    shutil.rmtree(place)
    return found


def _at(home: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(home), "XDG_STATE_HOME": str(home)}


def _check(said: str) -> None:
    if said != "usable\n":
        raise RuntimeError(f"the shell said {said!r}")


WAYS: dict[str, Way] = {
    "commands": _by_commands,
    "Python": _by_python,
    "MCP": _by_mcp,
    "E2B's SDK": _by_e2b,
    "a browser": _by_browser,
}
_LISTS = {
    "commands": ("tenant",),
    "Python": ("tenant",),
    "MCP": ("mcp",),
    "E2B's SDK": ("tenant", "e2b"),
}
