"""Open files: the soft limit goes up to the hard one, and connections leave room for the rest."""

import resource
from collections.abc import Callable

import pytest
import structlog

from pve402.api.transport import open_files

UNLIMITED = resource.RLIM_INFINITY


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set the limits of a process of its own, and the most that its system grants."""

    def give(soft: int, hard: int, granted: int = 10**6) -> None:
        now = [soft, hard]

        def change(_: int, limits: tuple[int, int]) -> None:
            if limits[0] > granted:
                raise ValueError("current limit exceeds maximum limit")
            now[:] = limits

        monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(now))
        monkeypatch.setattr(resource, "setrlimit", change)

    return give


@pytest.mark.parametrize(
    ("soft", "hard", "granted", "raised"),
    [
        (1024, 524_288, 10**6, 65_536),
        (1024, 4096, 10**6, 4096),
        (1024, UNLIMITED, 10**6, 65_536),
        (256, UNLIMITED, 10_240, 10_240),
        (256, UNLIMITED, 256, 256),
        (100_000, 524_288, 10**6, 100_000),
        (UNLIMITED, UNLIMITED, 10**6, UNLIMITED),
    ],
)
def test_the_soft_limit_is_raised_to_what_is_granted(limit, soft, hard, granted, raised):
    limit(soft, hard, granted)

    assert open_files.raise_limit() == raised
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (raised, hard)


@pytest.mark.parametrize(
    ("soft", "most"), [(1024, 512), (4096, 2048), (65_536, 10_000), (UNLIMITED, 10_000)]
)
def test_connections_leave_half_of_the_files(limit, soft: int, most: int):
    limit(soft, UNLIMITED)

    assert open_files.most_connections() == most


@pytest.mark.parametrize(("hard", "events"), [(4096, ["few_open_files"]), (65_536, [])])
def test_a_low_limit_is_told(limit, hard: int, events: list[str]):
    limit(1024, hard)

    with structlog.testing.capture_logs() as lines:
        open_files.raise_limit()

    assert [line["event"] for line in lines] == events
