"""The spend ledger: limits, what counts, several processes, and a file that is not good."""

import contextlib
import dataclasses
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pve402 import client
from pve402.client import ledger, spending
from pve402.client.spending import State

TERMS = spending.Terms(
    service="https://rent.example.com",
    what="/lease/container",
    payer="0x" + "a1" * 20,
    network="eip155:84532",
    asset="0x" + "0c" * 20,
    amount_atomic=100,
    decimals=6,
)
SIGNED = spending.Signed(nonce="0x" + "01" * 32, valid_before=1_000_600)


class Clock:
    """A time that the test sets."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(tmp_path: Path, clock: Clock) -> Callable[..., ledger.Ledger]:
    """Open one file, with the limits of a program."""

    def open_it(purse: str = "", **limits: int) -> ledger.Ledger:
        chosen = spending.Limits(**limits)
        return ledger.Ledger(tmp_path / "book", purse=purse, limits=chosen, now=clock)

    return open_it


def sent(book: ledger.Ledger) -> int:
    payment = book.reserve(TERMS)
    book.note_sent(payment, SIGNED)
    return payment


def test_a_second_payment_for_a_key_is_not_sent(opened: Callable[..., ledger.Ledger]):
    book = opened()
    signed = dataclasses.replace(SIGNED, idempotency_key="once", headers={"X": "1"})
    first, second = book.reserve(TERMS), book.reserve(TERMS)

    book.note_sent(first, signed)
    with pytest.raises(client.LedgerUnusable, match="another program pays for the same order"):
        book.note_sent(second, signed)

    book.release(second)
    assert {one.payment_id: one.state for one in book.payments()} == {
        first: State.SENT,
        second: State.RELEASED,
    }
    book.refuse(first)
    book.note_sent(book.reserve(TERMS), signed)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"per_call_micro_usd": 99}, "0.0001 USD is over the limit of 0.000099 USD for one"),
        ({"per_hour_micro_usd": 199}, "0.000199 USD an hour; 0.0001 USD of it are spent"),
        ({"in_all_micro_usd": 199}, "0.000199 USD in all; 0.0001 USD of it are spent"),
    ],
)
@pytest.mark.parametrize("is_kept", [True, False])
def test_a_limit_stops_the_payment_that_breaks_it(opened, limits, said: str, is_kept: bool):
    opened().reserve(TERMS)
    book = opened(**({} if is_kept else limits))
    if is_kept:
        opened().keep_limits(spending.Limits(**limits))
        if "in_all_micro_usd" in limits:  # counts from now on
            opened().reserve(TERMS)

    with pytest.raises(client.OverLimit, match=said):
        book.reserve(TERMS)


def test_exactly_the_limit_may_be_spent(opened):
    book = opened(per_call_micro_usd=100, per_hour_micro_usd=300, in_all_micro_usd=300)

    for _ in range(3):
        book.reserve(TERMS)

    assert book.spent().in_all_micro_usd == 300


def test_an_hour_later_the_hours_limit_allows_it_again(opened, clock: Clock):
    book = opened(per_hour_micro_usd=100)
    sent(book)
    with pytest.raises(client.OverLimit):
        book.reserve(TERMS)

    clock.now += ledger.HOUR_SECONDS

    assert book.reserve(TERMS)


@pytest.mark.parametrize(
    ("end", "counts"),
    [
        (lambda _book, _payment: None, True),
        (lambda book, payment: book.settle(payment, "0x5e", "l" * 26), True),
        (lambda book, payment: book.refuse(payment), True),
        (lambda book, payment: book.void(payment), False),
        (lambda book, payment: book.release(payment), True),  # it was sent
    ],
)
def test_what_was_sent_counts_until_it_can_move_no_money(opened, end, counts: bool):
    book = opened()
    end(book, sent(book))

    assert book.spent().in_all_micro_usd == (100 if counts else 0)


@pytest.mark.parametrize("valid_before", [1_000_001, SIGNED.valid_before])
def test_no_clock_frees_what_a_service_says_it_refused(opened, clock: Clock, valid_before: int):
    book = opened(in_all_micro_usd=100)
    payment = book.reserve(TERMS)
    book.note_sent(payment, dataclasses.replace(SIGNED, valid_before=valid_before))
    book.refuse(payment)

    clock.now += 10**9

    with pytest.raises(client.OverLimit, match=r"0\.0001 USD by .*`pve402 wallet spent` asks"):
        book.reserve(TERMS)
    assert book.spent().open_micro_usd == 100


def test_a_payment_that_was_refused_and_taken_all_the_same_is_settled(opened):
    book = opened()
    payment = sent(book)
    book.refuse(payment)

    book.settle(payment)

    (found,) = book.payments()
    assert found.state is State.SETTLED


def test_a_reservation_that_was_never_sent_lapses(opened, clock: Clock):
    book = opened(in_all_micro_usd=100)
    lapsed = book.reserve(TERMS)
    clock.now += ledger.RESERVED_SECONDS + 1

    second = book.reserve(TERMS)

    with pytest.raises(client.LedgerUnusable, match="nothing was sent"):
        book.note_sent(lapsed, SIGNED)
    book.note_sent(second, SIGNED)
    assert [one.state for one in book.payments()] == [State.SENT, State.RELEASED]


def test_a_released_reservation_does_not_count(opened):
    book = opened(in_all_micro_usd=100)
    book.release(book.reserve(TERMS))

    assert book.reserve(TERMS)


def both_are_used_up(narrow, wide):
    """Pay twice from one, once from the other: the limits are 200, and 300 for both together."""
    narrow.reserve(TERMS)
    narrow.reserve(TERMS)
    with pytest.raises(client.OverLimit, match=r"0\.0002 USD in all"):
        narrow.reserve(TERMS)
    wide.reserve(TERMS)
    with pytest.raises(client.OverLimit, match=r"0\.0003 USD in all"):
        wide.reserve(TERMS)


def test_a_purse_has_a_limit_of_its_own_and_the_file_one_for_all(opened):
    opened().keep_limits(spending.Limits(in_all_micro_usd=300))
    one, other = opened("one", in_all_micro_usd=200), opened("other", in_all_micro_usd=200)

    both_are_used_up(one, other)

    assert other.spent(purse="other").in_all_micro_usd == 100


def test_an_inner_purse_counts_for_the_outer_one_and_for_no_other(opened):
    outer = opened("ci", in_all_micro_usd=300)
    inner = outer.within("kept-1", spending.Limits(in_all_micro_usd=200))

    both_are_used_up(inner, outer)

    assert opened().spent(purse="ci").in_all_micro_usd == 300
    assert opened().spent(purse="c").in_all_micro_usd == 0


def test_kept_limits_stay_and_what_was_paid_before_is_forgotten(opened):
    opened().reserve(TERMS)
    wanted = spending.Limits(per_call_micro_usd=5_000, in_all_micro_usd=100)

    opened().keep_limits(wanted)

    assert opened().kept_limits() == wanted
    assert opened().reserve(TERMS)


@pytest.mark.parametrize(
    ("amount", "decimals", "micro_usd"), [(1, 6, 1), (1, 18, 1), (10**18, 18, 10**6), (0, 6, 0)]
)
def test_amounts_are_kept_exactly_and_counted_rounded_up(opened, amount, decimals, micro_usd):
    book = opened()

    book.reserve(dataclasses.replace(TERMS, amount_atomic=amount, decimals=decimals))

    (found,) = book.payments()
    assert (found.amount_atomic, found.micro_usd) == (amount, micro_usd)


def test_a_price_that_no_file_could_hold_is_refused(opened):
    with pytest.raises(client.OverLimit, match="hold"):
        opened().reserve(dataclasses.replace(TERMS, amount_atomic=10**36))


def test_only_the_user_can_read_it(opened, tmp_path: Path):
    book = ledger.Ledger(tmp_path / "new" / "folder" / "book")
    book.reserve(TERMS)
    opened().reserve(TERMS)
    (tmp_path / "book").chmod(0o644)
    opened().spent()

    assert stat.S_IMODE(book.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(book.path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "book").stat().st_mode) == 0o600


@pytest.mark.parametrize("spoil", ["words", "folder", "link", "newer"])
def test_a_file_that_is_no_ledger_lets_nothing_be_signed(tmp_path: Path, spoil: str):
    book = ledger.Ledger(tmp_path / "book")
    if spoil == "words":
        book.path.write_text("no database" * 100)
    elif spoil == "folder":
        book.path.mkdir()
    elif spoil == "link":
        book.path.symlink_to(tmp_path / "elsewhere")
    else:
        book.spent()
        with contextlib.closing(sqlite3.connect(book.path)) as database:
            database.execute("PRAGMA user_version = 99")

    with pytest.raises(client.LedgerUnusable, match=str(book.path)):
        book.reserve(TERMS)


def test_a_file_of_the_first_version_goes_on(opened, tmp_path: Path):
    with contextlib.closing(sqlite3.connect(tmp_path / "book")) as database:
        database.executescript(FIRST_VERSION)
    book = opened(in_all_micro_usd=150)

    with pytest.raises(client.OverLimit):
        book.reserve(TERMS)
    book.refuse(1)

    (found,) = book.payments()
    assert (found.state, found.nonce) == (State.REFUSED, "0x01")


FIRST_VERSION = """
CREATE TABLE payments (
    payment_id INTEGER PRIMARY KEY AUTOINCREMENT, state TEXT NOT NULL, reserved_at INTEGER NOT NULL,
    purse TEXT NOT NULL, service TEXT NOT NULL, what TEXT NOT NULL, payer TEXT NOT NULL,
    network TEXT NOT NULL, asset TEXT NOT NULL, amount_atomic TEXT NOT NULL,
    micro_usd INTEGER NOT NULL, nonce TEXT NOT NULL DEFAULT '',
    valid_before INTEGER NOT NULL DEFAULT 0, tx_hash TEXT NOT NULL DEFAULT '',
    lease_id TEXT NOT NULL DEFAULT ''
);
CREATE TABLE limits (
    per_call_micro_usd INTEGER, per_hour_micro_usd INTEGER, in_all_micro_usd INTEGER,
    after_payment_id INTEGER NOT NULL
);
INSERT INTO payments VALUES
    (1, 'sent', 5, '', 's', 'w', 'p', 'n', 'a', '100', 100, '0x01', 7, '', '');
PRAGMA user_version = 1;
"""
SPEND = """
import sys
from pathlib import Path
from pve402 import client

limits = client.spending.Limits(in_all_micro_usd=2_000)
book = client.ledger.Ledger(Path(sys.argv[1]), limits=limits)
terms = client.spending.Terms(
    service="", what="", payer="", network="", asset="", amount_atomic=100, decimals=6
)
try:
    while True:
        payment = book.reserve(terms)
        book.note_sent(payment, client.spending.Signed(nonce="", valid_before=2**40))
except client.OverLimit:
    pass
"""


def test_threads_and_processes_cannot_double_a_budget(tmp_path: Path):
    path = tmp_path / "book"
    command = [sys.executable, "-c", SPEND, str(path)]

    def spend() -> None:
        book = ledger.Ledger(path, limits=spending.Limits(in_all_micro_usd=2_000))
        with contextlib.suppress(client.OverLimit):
            while True:
                sent(book)

    threads = [threading.Thread(target=spend) for _ in range(3)]
    processes = [subprocess.Popen(command) for _ in range(2)]
    for thread in threads:
        thread.start()
    ended = [process.wait(60) for process in processes]
    for thread in threads:
        thread.join(60)

    assert ended == [0, 0]
    assert ledger.Ledger(path).spent().in_all_micro_usd == 2_000


@pytest.mark.parametrize(
    ("micro_usd", "text"), [(0, "0.00"), (10_000, "0.01"), (1, "0.000001"), (12_500_000, "12.50")]
)
def test_usd_are_written_with_cents_at_least(micro_usd: int, text: str):
    assert spending.usd(micro_usd) == text
