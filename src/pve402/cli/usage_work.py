"""The work on what a container used in the past: figures, and a chart of one line for each."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, cast, get_args

from pve402 import client, schemas
from pve402.cli import calls, credentials, terminal

_BARS: Final = "▁▂▃▄▅▆▇█"
_GAP: Final = " "
_WIDTH: Final = 48
_NONE: Final = "no figures yet: Proxmox VE takes them once a minute"
_HEADS: Final = ("", "last", "average", "peak", "of", "chart")

Values = Sequence[float | None]
Words = Callable[[float], str]


def show(url: str, token: str | None, name: str, timeframe: str, *, as_json: bool) -> None:
    """Show what one container used, or say that nothing is known yet."""
    if timeframe not in get_args(schemas.TimeFrame):
        terminal.misused(f"--timeframe must be one of {', '.join(get_args(schemas.TimeFrame))}")
    frame = cast("schemas.TimeFrame", timeframe)

    async def asked(service: client.Client) -> schemas.UsageAnswer:
        return await client.usage.show(service, await client.names.resolve(service, name), frame)

    answer = calls.run(credentials.holder(url, token), asked)
    if as_json:
        terminal.show(answer, as_json=True)
    elif not answer.points:
        terminal.say(_NONE)
    else:
        terminal.show_columns([_HEADS, *_rows(answer.points)])


def chart(places: Sequence[int], values: Values, most: float) -> str:
    """Draw values as bars from 0 to `most`, each at its place; a place without a value is a gap.

    Values of one place are drawn as their mean.
    """
    found: dict[int, list[float]] = {}
    for place, value in zip(places, values, strict=True):
        if value is not None:
            found.setdefault(place, []).append(value)
    columns = [found.get(place) for place in range(places[-1] + 1)]
    return "".join(_GAP if of is None else _bar(sum(of) / len(of), most) for of in columns)


def _rows(points: Sequence[schemas.UsagePoint]) -> Iterator[tuple[str, ...]]:
    last = points[-1]
    lines: list[tuple[str, Values, Words, float | None]] = [
        ("processor", [p.cpu_fraction for p in points], _percent, 1.0),
        ("memory", [p.memory_bytes for p in points], _bytes, last.memory_total_bytes),
        ("disk", [p.disk_bytes for p in points], _bytes, last.disk_total_bytes),
        ("network in", [p.network_in_bytes_per_second for p in points], _rate, None),
        ("network out", [p.network_out_bytes_per_second for p in points], _rate, None),
        ("disk read", [p.disk_read_bytes_per_second for p in points], _rate, None),
        ("disk write", [p.disk_write_bytes_per_second for p in points], _rate, None),
    ]
    places = _places(points)
    for name, values, words, total in lines:
        known = [value for value in values if value is not None]
        if known:
            figures = (values[-1], sum(known) / len(known), max(known), total)
            shown = ["" if figure is None else words(figure) for figure in figures]
            yield (name, *shown, chart(places, values, total or max(known)))


def _places(points: Sequence[schemas.UsagePoint]) -> list[int]:
    """The column of each point in a chart of the whole time, whose columns are equally long."""
    start, end = points[0].began_at, max(point.ended_at for point in points)
    shortest = min(point.ended_at - point.began_at for point in points)
    columns = min(_WIDTH, (end - start) // shortest) if shortest else _WIDTH
    middle = [(point.began_at - start + (point.ended_at - point.began_at) / 2) for point in points]
    length = (end - start) / columns if columns else end - start
    return [min(int(one / length), _WIDTH - 1) if length else 0 for one in middle]


def _bar(value: float, most: float) -> str:
    place = round(value / most * (len(_BARS) - 1)) if most else 0
    return _BARS[min(place, len(_BARS) - 1)]


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%"


def _bytes(value: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TB"


def _rate(value: float) -> str:
    return f"{_bytes(value)}/s"
