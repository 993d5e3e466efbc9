"""The shop in a browser, with a wallet that signs for the devnet: what is shown is what is paid."""

import json
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Route, expect
from tests.support import console_links, sign_in_texts
from tests.support.browser_wallet import BrowserWallet
from tests.support.console_pages import connected
from tests.support.processes import ServeProcess

from pve402.domain import lease as leases
from pve402.domain import price

pytestmark = [pytest.mark.browser, pytest.mark.namespaces]

WEALTH = 2_000_000
SETTLED_MS = 60_000
UNITS = """async (cases) => {
  const script = document.querySelector("script[src$='shop/main.js']").src;
  const { leaseUnits } = await import(script.replace("main.js", "money.js"));
  return cases.map(([sku, size, decimals]) => String(leaseUnits(sku, size, decimals)));
}"""

OUTCOMES = {
    (402, "insufficient_funds", "first", "in time"): True,
    (402, "insufficient_funds", "after a lost answer", "in time"): True,
    (409, "no_capacity", "first", "in time"): True,
    (409, "no_capacity", "after a lost answer", "in time"): False,
    (410, "lease_ended", "after a lost answer", "too late"): True,
    (502, "provisioning_failed", "after a lost answer", "in time"): True,
    (502, "payment_owed", "after a lost answer", "in time"): True,
    (503, "settlement_pending", "after a lost answer", "too late"): False,
    (429, "too_many_requests", "first", "in time"): False,
    (500, "internal_error", "first", "in time"): False,
    (403, "unexpected_answer", "first", "too late"): False,
}
"""Whether a refusal ends a payment."""
IS_FINAL = """async ([refusal, attempt]) => {
  const script = document.querySelector("script[src$='shop/main.js']").src;
  const { isFinal } = await import(script.replace("main.js", "delivery.js"));
  return isFinal(refusal, attempt);
}"""

IS_SIGN_IN = """async ([texts, nonce, account]) => {
  const script = document.querySelector("script[src$='shop/main.js']").src;
  const { isSignIn } = await import(script.replace("main.js", "signing_in.js"));
  return texts.map((text) => isSignIn(text, nonce, account));
}"""

STATUS_OF = """async (lease) => {
  const script = document.querySelector("script[src$='shop/main.js']").src;
  const { statusOf } = await import(script.replace("main.js", "words.js"));
  const { isRenewable } = await import(script.replace("main.js", "lease.js"));
  return [statusOf(lease), isRenewable(lease)];
}"""


@pytest.fixture
def page(chromium: BrowserContext) -> Iterator[Page]:
    """A window in which no script may fail; refusals and lost answers are part of the game."""
    made = chromium.new_page()
    problems: list[str] = []
    made.on("pageerror", lambda error: problems.append(str(error)))
    made.on("console", lambda said: problems.append(said.text) if is_fault(said) else None)
    yield made
    made.close()
    assert not problems, problems


@pytest.fixture
def wallet(page: Page, service: ServeProcess) -> Iterator[BrowserWallet]:
    """The shop, open in a browser that has a wallet with two dollars; it forgets all afterwards."""
    made = BrowserWallet(page=page, devnet=service.devnet, account=service.devnet.wallet(WEALTH))
    made.put_in()
    page.goto(service.url)
    yield made
    page.evaluate("localStorage.clear()")


def test_the_price_on_the_page_is_the_services(page: Page, wallet: BrowserWallet):
    dice = random.Random(402)
    cases = [random_case(dice) for _ in range(200)]

    computed = page.evaluate(UNITS, [list(case) for case in cases])

    assert [int(units) for units in computed] == [by_rule(*case) for case in cases]
    assert wallet.signed == []


def test_a_paused_or_suspended_container_is_not_just_stopped(page: Page, wallet: BrowserWallet):
    lease = {"status": "active", "vmStatus": {"status": "stopped"}}
    states: list[dict[str, Any]] = [{}, {"paused": {}}, {"suspended": {}}]

    told = [page.evaluate(STATUS_OF, {**lease, **state}) for state in states]

    assert told == [["stopped", True], ["paused", True], ["suspended by the operator", False]]


def test_only_what_is_certain_ends_an_open_payment(page: Page, wallet: BrowserWallet):
    told = [page.evaluate(IS_FINAL, outcome(*case)) for case in OUTCOMES]

    assert dict(zip(OUTCOMES, told, strict=True)) == OUTCOMES
    assert wallet.signed == []


def test_only_a_sign_in_to_this_service_is_signed(
    page: Page, wallet: BrowserWallet, service: ServeProcess
):
    account = wallet.account.address
    ours = sign_in_texts.written(service.url, account)
    others = [
        ours.replace("127.0.0.1", "bank.example", 1),
        ours.replace("URI: http://127.0.0.1", "URI: http://bank.example"),
        ours.replace(account, "0x" + "1" * 40),
        ours.replace("Nonce: 0", "Nonce: 1"),
        sign_in_texts.written(service.url, account, lasts=2 * 24 * 3600),
        ours + "\nResources:\n- https://bank.example",
    ]

    told = page.evaluate(IS_SIGN_IN, [[ours, *others], sign_in_texts.NONCE, account])

    assert told == [True] + [False] * len(others)


def test_a_container_is_rented_and_opened(
    page: Page, wallet: BrowserWallet, service: ServeProcess, chromium: BrowserContext
):
    price_shown(page)
    page.locator("#cores-slider").press("ArrowRight")
    page.click("text=Name and SSH key")
    page.fill("#hostname", "from-the-shop")
    shown = price_shown(page)
    review = reviewed(page)
    asked = asked_by_service(service, cores=2)
    said = review.inner_text()

    review.get_by_role("button", name="Go on to Test wallet").click()
    expect(page.locator("#lease-status")).to_have_text("running", timeout=SETTLED_MS)

    assert shown == f"{int(asked['amount']) / 10**6:g} USDC"
    for words in (shown, asked["payTo"], "Base Sepolia (chain 84532)", "2 cores", "until"):
        assert words in said
    assert WEALTH - wallet.balance == int(asked["amount"]) == int(wallet.signed[0]["value"])
    assert page.inner_text("#lease-name") == "from-the-shop"
    assert "left" in page.inner_text("#time-left")
    check_usage(page)
    with chromium.expect_page() as opened:
        page.click("#terminal")
    connected(opened.value)
    opened.value.close()
    page.click("nav >> text=Receipts")
    link = page.locator("#receipt-list a[target]").get_attribute("href") or ""
    assert re.fullmatch(r"https://sepolia\.basescan\.org/tx/0x[0-9a-f]{64}", link)
    assert wallet.devnet.rpc("eth_getTransactionReceipt", link[-66:])["status"] == "0x1"


def test_a_declined_signature_pays_nothing_and_can_be_given_later(
    page: Page, wallet: BrowserWallet
):
    wallet.declines = True
    go_on(page)
    expect(page.locator("#problem")).to_have_text("You declined in your wallet. Nothing was paid.")
    assert (wallet.balance, kept(page)) == (WEALTH, None)

    wallet.declines = False
    price_shown(page)
    page.focus("#pay")
    page.keyboard.press("Enter")
    expect(page.locator("dialog.review h2")).to_be_focused(timeout=SETTLED_MS)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    until_rented(page)
    expect(page.locator("#lease-name")).to_be_focused()
    assert WEALTH - wallet.balance == int(wallet.signed[0]["value"])


def test_a_chain_that_the_wallet_does_not_know_is_added(page: Page, wallet: BrowserWallet):
    wallet.chain_id, wallet.knows = 1, {1}

    go_on(page)

    until_rented(page)
    assert wallet.chain_id == 84532
    assert wallet.asked.count("wallet_addEthereumChain") == 1
    assert WEALTH - wallet.balance == int(wallet.signed[0]["value"])


@pytest.mark.parametrize("silently", [False, True])
def test_an_account_that_changes_before_the_signature_pays_nothing(
    page: Page, wallet: BrowserWallet, service: ServeProcess, silently: bool
):
    review = reviewed(page)

    wallet.turn_to(service.devnet.wallet(WEALTH), silently=silently)
    if silently:
        review.get_by_role("button", name="Go on").click()

    expect(page.locator("#problem")).to_contain_text("account in your wallet changed")
    assert page.locator("dialog").count() == 0
    assert (wallet.signed, wallet.balance, kept(page)) == ([], WEALTH, None)


def test_an_account_with_too_little_is_not_asked_to_sign(
    page: Page, wallet: BrowserWallet, service: ServeProcess
):
    wallet.account = service.devnet.wallet(7)

    page.click("#pay")

    expect(page.locator("#problem")).to_contain_text("has 0.000007 USDC on base-sepolia")
    assert (wallet.signed, kept(page)) == ([], None)


def test_another_price_than_the_one_shown_is_not_signed(page: Page, wallet: BrowserWallet):
    page.route("**/lease/quote", quote_less)
    price_shown(page)
    page.locator("#minutes-slider").press("ArrowRight")
    shown = price_shown(page)

    page.click("#pay")

    expect(page.locator("#problem")).to_contain_text("The price has changed. Nothing was signed")
    assert shown == "0.000007 USDC"
    assert (wallet.signed, kept(page)) == ([], None)


@pytest.mark.parametrize("arrives", [False, True], ids=["lost request", "lost answer"])
def test_a_reload_between_signature_and_answer_pays_once(
    page: Page, wallet: BrowserWallet, arrives: bool
):
    guests = len(wallet.devnet.guests())
    lose = Loser(arrives=arrives)
    page.route("**/lease/container", lose)
    go_on(page)
    expect(page.locator("#stage-text")).to_contain_text("No answer about the payment yet")
    assert page.is_disabled("#pay")
    open_payment = kept(page)

    second = page.context.new_page()
    BrowserWallet(page=second, devnet=wallet.devnet, account=wallet.account).put_in()
    second.goto(page.url)
    expect(second.locator("#stage-text")).to_contain_text("Another tab is busy with a payment")
    second.close()
    page.unroute_all(behavior="ignoreErrors")
    page.reload()

    until_rented(page)
    assert open_payment is not None
    assert open_payment["id"] == wallet.signed[0]["nonce"]
    assert (len(wallet.signed), kept(page)) == (1, None)
    assert WEALTH - wallet.balance == int(wallet.signed[0]["value"])
    assert len(wallet.devnet.guests()) <= guests + 1


def test_a_reload_while_the_wallet_asks_pays_nothing(page: Page, wallet: BrowserWallet):
    wallet.is_silent = True
    go_on(page)
    expect(page.locator("#give-up")).to_be_visible()
    assert kept(page)["signature"] == ""

    page.reload()

    expect(page.locator("#problem")).to_contain_text("closed before your wallet answered")
    assert (wallet.signed, wallet.balance, kept(page)) == ([], WEALTH, None)


def is_fault(said: ConsoleMessage) -> bool:
    return said.type == "error" and not said.text.startswith("Failed to load resource")


def test_a_lease_is_found_by_signing_in_and_ended(
    page: Page, wallet: BrowserWallet, service: ServeProcess
):
    bought = service.tenant(wallet.account).post(
        f"{service.url}/lease/container", json=console_links.OFFER
    )
    debt = {"owedId": "o1", "usd": "0.5", "network": "base-sepolia"}
    page.route("**/owed", lambda route: route.fulfill(json=[debt]))
    page.click("nav >> text=My leases")
    page.click("#sign-in-button")
    expect(page.locator("#owed-list")).to_contain_text("0.5 USD on base-sepolia are owed to you")
    page.click("#lease-list >> text=demo")
    until_rented(page)

    page.click("#files summary")
    page.set_input_files("#upload", {"name": "a b&c.txt", "mimeType": "", "buffer": b"carried"})
    with page.expect_download() as carried:
        page.get_by_role("button", name="Download a b&c.txt").click()
    assert carried.value.path().read_bytes() == b"carried"

    page.click("#end")
    page.click("text=End and destroy")

    expect(page.locator("#notice")).to_have_text("The lease is being ended.")
    expect(page.locator("#lease-status")).to_have_text("ended", timeout=SETTLED_MS)
    ended = requests.get(
        f"{service.url}/lease/{bought.json()['leaseId']}",
        headers={"Authorization": f"Bearer {bought.json()['accessToken']}"},
        timeout=30,
    )
    assert (ended.status_code, ended.json()["code"]) == (410, "lease_ended")


def outcome(status: int, code: str, turn: str, time: str) -> list[dict[str, Any]]:
    """A refusal and the payment that it answers, which was valid until second 1000."""
    at_ms = 900_000 if time == "in time" else 1_400_000
    attempt = {"isUnclear": turn != "first", "authorized": {"validBefore": "1000"}}
    return [{"status": status, "code": code, "atMs": at_ms}, attempt]


def quote_less(route: Route) -> None:
    """Show a price that is not the one that is asked for."""
    quote = route.fetch().json()
    for offer in quote["accepts"]:
        offer["amount"] = "7"
    route.fulfill(json=quote)


class Loser:
    """Keeps answers about payments from the page, after or before the service has the request."""

    def __init__(self, *, arrives: bool) -> None:
        self._arrives = arrives

    def __call__(self, route: Route) -> None:
        """Pass on what carries no payment."""
        if "payment-signature" not in route.request.headers:
            route.continue_()
            return
        if self._arrives:
            route.fetch(timeout=SETTLED_MS)
        route.abort()


def price_shown(page: Page) -> str:
    """The price, once the service has confirmed it."""
    expect(page.locator("#pay")).to_be_enabled(timeout=SETTLED_MS)
    return page.inner_text("#price")


def reviewed(page: Page) -> Any:
    """The dialog that says what is signed."""
    price_shown(page)
    page.click("#pay")
    dialog = page.locator("dialog.review")
    expect(dialog).to_be_visible(timeout=SETTLED_MS)
    return dialog


def check_usage(page: Page) -> None:
    """Open the figures of the container: none at first, and then a chart that is told, too."""
    time = {"beganAt": "2026-11-29T12:00:00Z", "endedAt": "2026-11-29T12:01:00Z"}
    answer = {"points": [{**time, "cpuFraction": 0.5}]}
    page.route("**/usage?timeframe=day", lambda route: route.fulfill(json=answer))
    page.click("#usage summary")
    expect(page.locator("#usage-said")).to_contain_text("No figures yet")
    page.select_option("#timeframe", "day")
    chart = page.get_by_role("img", name=re.compile("Processor from .* last 50.0%, average 50.0%"))
    expect(chart.locator("path")).to_have_attribute("d", "M0.0 30.0L0.0 30.0H600.0")


def go_on(page: Page) -> None:
    """Review a payment and go on to the wallet."""
    reviewed(page).get_by_role("button", name="Go on to Test wallet").click()


def until_rented(page: Page) -> None:
    """Wait for the container."""
    expect(page.locator("#lease-status")).to_have_text("running", timeout=SETTLED_MS)


def kept(page: Page) -> Any:
    """The open payment that the browser keeps, if there is one."""
    return json.loads(page.evaluate("localStorage.getItem('pve402.payment')") or "null")


def asked_by_service(service: ServeProcess, **size: Any) -> dict[str, str]:
    """The terms of the form's usual order, as a program is asked for them."""
    usual = {"sku": "standard-lxc", "runtimeMinutes": 60, "cores": 1, "memoryMB": 512, "diskGB": 8}
    body = {**usual, "password": "a-good-one", **size}
    terms = requests.post(f"{service.url}/lease/container", json=body, timeout=30).json()
    first = terms["accepts"][0]
    return {"amount": first["maxAmountRequired"], "payTo": first["payTo"]}


def by_rule(sku: dict[str, Any], size: dict[str, int], decimals: int) -> int:
    names = {
        "base_usd": "baseUsd",
        "core_minute_usd": "coreMinuteUsd",
        "memory_gb_minute_usd": "memoryGBMinuteUsd",
        "disk_gb_minute_usd": "diskGBMinuteUsd",
        "address_usd_minute": "addressUsdMinute",
    }
    rates = {ours: sku[name] for ours, name in names.items() if sku[name] is not None}
    known = price.Rates.from_strings(rates)
    shape = leases.Size(cores=size["cores"], memory_mb=size["memoryMB"], disk_gb=size["diskGB"])
    usd = price.lease_price_usd(known, shape, size["minutes"], addresses=sku["addressCount"])
    return price.atomic_units(usd, decimals)


def random_case(dice: random.Random) -> tuple[dict[str, Any], dict[str, int], int]:
    names = ("baseUsd", "coreMinuteUsd", "memoryGBMinuteUsd", "diskGBMinuteUsd", "addressUsdMinute")
    sku: dict[str, Any] = {
        name: f"{dice.random() / 10 ** dice.randrange(6):.{dice.randrange(1, 18)}f}"
        for name in names
    }
    sku["addressCount"] = dice.randrange(3)
    if dice.random() < 0.2:
        sku["addressUsdMinute"] = None
    size = {
        "cores": dice.randint(1, 64),
        "memoryMB": dice.randint(16, 300_000),
        "diskGB": dice.randint(1, 4000),
        "minutes": dice.randint(1, 600_000),
    }
    return sku, size, dice.choice([2, 6, 18])
