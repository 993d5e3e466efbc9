"""Tickets: genuine, bound to what they were made for, and no older than allowed."""

import pytest

from pve402_devnet.pve import access, clock, credentials, errors, options, tickets


@pytest.fixture
def time() -> clock.TickClock:
    return clock.TickClock()


@pytest.fixture
def office(time: clock.TickClock) -> tickets.TicketOffice:
    return tickets.TicketOffice(time)


@pytest.fixture
def keeper(office: tickets.TicketOffice, time: clock.TickClock) -> credentials.Doorkeeper:
    token = options.TokenOptions(user="a@pve", name="t", secret="s3cret")
    known = access.Access(options.AccessOptions(tokens=(token,)), "")
    return credentials.Doorkeeper(known, office, time)


async def test_a_login_lives_two_hours(office: tickets.TicketOffice, time: clock.TickClock) -> None:
    ticket = office.issue_login("a@pve")

    assert office.login_user(ticket) == "a@pve"
    await time.tick(tickets.LOGIN_SECONDS + 1)
    assert office.login_user(ticket) is None


@pytest.mark.parametrize("forged", ["", "PVE:a@pve:00000000::AAAA", "rubbish", "PVE:root@pam:"])
def test_a_forged_login_is_nobody(office: tickets.TicketOffice, forged: str) -> None:
    assert office.login_user(forged) is None


def test_a_login_of_another_user_cannot_be_written(office: tickets.TicketOffice) -> None:
    forged = office.issue_login("a@pve").replace("a@pve", "root@pam")

    assert office.login_user(forged) is None


@pytest.mark.parametrize(
    ("user", "path", "port", "good"),
    [
        ("a@pve", "/vms/100", 5900, True),
        ("b@pve", "/vms/100", 5900, False),
        ("a@pve", "/vms/101", 5900, False),
        ("a@pve", "/vms/100", 5901, False),
    ],
)
def test_a_console_ticket_is_bound(
    office: tickets.TicketOffice, user: str, path: str, port: int, good: bool
) -> None:
    ticket = office.issue_console("a@pve", "/vms/100", 5900)

    assert office.is_console(ticket, user, path, port) is good
    assert office.is_console(f"passw0rd:{ticket}", user, path, port) is good


async def test_a_console_ticket_lives_forty_seconds(
    office: tickets.TicketOffice, time: clock.TickClock
) -> None:
    ticket = office.issue_console("a@pve", "/vms/100", 5900)
    await time.tick(tickets.CONSOLE_SECONDS + 1)

    with pytest.raises(errors.LoginRefused, match="invalid PVEVNC ticket"):
        office.require_console(ticket, "a@pve", "/vms/100", 5900)


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ({}, "No ticket"),
        ({"Authorization": "Bearer a@pve!t=s3cret"}, "No ticket"),
        ({"Authorization": "pveapitoken=a@pve!t=s3cret"}, "No ticket"),
        ({"Authorization": "PVEAPIToken=a@pve!t=wrong"}, "Authentication failed!"),
        ({"Authorization": "PVEAPIToken=a@pve!u=s3cret"}, "Authentication failed!"),
        ({"Authorization": "PVEAPIToken=b@pve!t=s3cret"}, "Authentication failed!"),
        ({"Authorization": "PVEAPIToken=rubbish"}, "Authentication failed!"),
        ({"Cookie": "PVEAuthCookie=rubbish"}, "Authentication failed!"),
    ],
)
def test_bad_credentials(keeper: credentials.Doorkeeper, header: dict[str, str], text: str) -> None:
    with pytest.raises(errors.Unauthenticated) as refused:
        keeper.identify("GET", "/version", header)

    assert refused.value.text == text


@pytest.mark.parametrize("separator", ["=", " "])
def test_a_token_is_known(keeper: credentials.Doorkeeper, separator: str) -> None:
    header = {"Authorization": f"PVEAPIToken{separator}a@pve!t=s3cret"}

    caller = keeper.identify("POST", "/nodes/pve/lxc", header)

    assert caller == credentials.Caller(user="a@pve!t", by_token=True)


def test_writes_by_cookie_need_the_csrf_token(
    keeper: credentials.Doorkeeper, office: tickets.TicketOffice
) -> None:
    cookie = {"Cookie": f"PVEAuthCookie={office.issue_login('a@pve')}"}
    csrf = {"CSRFPreventionToken": office.issue_csrf_token("a@pve")}
    foreign = {"CSRFPreventionToken": office.issue_csrf_token("b@pve")}

    assert keeper.identify("GET", "/version", cookie).user == "a@pve"
    assert keeper.identify("POST", "/x", {**cookie, **csrf}).user == "a@pve"
    for headers in (cookie, {**cookie, **foreign}):
        with pytest.raises(errors.Unauthenticated, match="invalid csrf token"):
            keeper.identify("POST", "/x", headers)
