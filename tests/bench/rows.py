"""One row of the table of measurements, and how figures are written in it."""

import dataclasses
from collections.abc import Callable
from statistics import median

from tests.bench.load import Rate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured, beside what, and what was aimed at."""

    what: str
    ours: str
    beside: str
    peer: str
    ratio: str
    aim: str

    def line(self) -> str:
        """The row in Markdown."""
        return f"| {' | '.join(dataclasses.astuple(self))} |"


HEAD = (
    "| what | ours | beside | its figure | ratio | aim |\n| --- | --- | --- | --- | --- | --- |\n"
)


def show(what: str, figure: str, aim: str = "-") -> None:
    """Print a figure without a peer, as a row for docs/benchmarks.md."""
    print(f"\n| {what} | {figure} | {aim} |", end="", flush=True)


def middle(rates: list[Rate], value: Callable[[Rate], float]) -> float:
    """The median of one figure."""
    return median(value(rate) for rate in rates)


def told(rates: list[Rate]) -> str:
    """A series of rates in words: rate, times, and what a request cost the server."""
    return (
        f"{middle(rates, lambda r: r.per_second):,.0f}/s, "
        f"p50 {middle(rates, lambda r: r.p50_ms):.1f} ms, "
        f"p99 {middle(rates, lambda r: r.p99_ms):.0f} ms, "
        f"{middle(rates, lambda r: r.cpu_us):.0f} us CPU"
    )


def compared(ours: list[Rate], peer: list[Rate]) -> str:
    """How many times as fast we are: by rate, and by what one request costs the server."""
    by_rate = median(a.per_second / b.per_second for a, b in zip(ours, peer, strict=True))
    by_cpu = median(b.cpu_us / a.cpu_us for a, b in zip(ours, peer, strict=True))
    return f"{by_rate:.2f} by rate, {by_cpu:.2f} by CPU"
