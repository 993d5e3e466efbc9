"""Which headers pass between visitors and servers in containers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pve402.api.ports import headers, visitors
from pve402.domain import published

VISITOR = headers.Visitor(host="80-l.ports.example.net", scheme="https", address="203.0.113.9")
COOKIES = visitors.CookieNames.of(published.PortsDomain("ports.example.net"))
NAMES = st.sampled_from(
    [
        b"connection",
        b"upgrade",
        b"te",
        b"x-forwarded-for",
        b"forwarded",
        b"pve402-token",
        b"cookie",
        b"host",
        b"x-own",
        b"authorization",
        b"content-length",
        b"transfer-encoding",
        b"expect",
    ]
)
VALUES = st.sampled_from(
    [b"a", b"close, X-Own", b"host", b"__Host-pve402-login=secret; a=1", b"chunked", b"12"]
)


def passed(*received: headers.Header) -> dict[bytes, bytes]:
    """What the server in the container gets."""
    return dict(headers.for_guest(received, VISITOR, COOKIES.both))


@given(st.lists(st.tuples(NAMES, VALUES), max_size=12))
def test_nothing_between_us_and_the_visitor_reaches_the_container(
    received: list[headers.Header],
) -> None:
    found = headers.for_guest(received, VISITOR, COOKIES.both)
    names = [name for name, _value in found]

    assert found[0] == (b"host", VISITOR.host.encode())
    assert names.count(b"host") == names.count(b"x-forwarded-for") == 1
    assert not {b"connection", b"upgrade", b"te", b"forwarded", b"pve402-token"} & set(names)
    assert not {b"content-length", b"transfer-encoding", b"expect"} & set(names)
    assert not any(b"secret" in value for name, value in found if name == b"cookie")


def test_ours_go_and_the_applications_stay() -> None:
    cookie = b"__Host-pve402-login=x; a=1; __Host-pve402-seen=1; __Host-own=2"
    found = passed((b"cookie", cookie), (b"authorization", b"Basic x"), (b"x-payment", b"p"))

    assert (found[b"cookie"], found[b"authorization"]) == (b"a=1; __Host-own=2", b"Basic x")
    assert found[b"x-payment"] == b"p"
    assert b"cookie" not in passed((b"cookie", b"__Host-pve402-login=x"))
    assert passed((b"cookie", b"a=1;; b=2; "))[b"cookie"] == b"a=1; b=2"


def test_where_cookies_are_others_the_guest_gets_none() -> None:
    found = dict(headers.for_guest([(b"cookie", b"session=1"), (b"x", b"y")], VISITOR, None))

    assert (found[b"x"], b"cookie" in found) == (b"y", False)


def test_our_token_is_not_passed_on_wherever_it_was_put() -> None:
    token = b"pve402_" + b"0a" * 32
    found = passed(
        (b"authorization", b"Bearer " + token),
        (b"x-api-key", token),
        (b"pve402_token", b"x"),
        (b"x-own", b"Bearer pve402_is_a_name"),
    )

    assert token not in b"".join(found.values())
    assert (b"pve402_token" in found, found[b"x-own"]) == (False, b"Bearer pve402_is_a_name")


def test_a_visitor_cannot_claim_another_address_in_other_letters() -> None:
    found = passed((b"x_forwarded_for", b"127.0.0.1"), (b"content_length", b"7"), (b"x_own", b"1"))

    assert set(found) & {b"x_forwarded_for", b"content_length", b"x_own"} == {b"x_own"}


def test_what_connection_names_goes_but_not_what_we_add() -> None:
    found = passed((b"connection", b"X-Own, x-forwarded-for, Host"), (b"x-own", b"1"))

    assert b"x-own" not in found
    assert (found[b"x-forwarded-for"], found[b"host"]) == (b"203.0.113.9", VISITOR.host.encode())


@pytest.mark.parametrize(
    ("received", "framing"),
    [
        ([], []),
        ([(b"content-length", b"5")], [(b"content-length", b"5")]),
        ([(b"transfer-encoding", b"gzip, chunked")], [(b"transfer-encoding", b"chunked")]),
        (
            [(b"transfer-encoding", b"chunked"), (b"content-length", b"5")],
            [(b"transfer-encoding", b"chunked")],
        ),
        ([(b"content-length", b"5"), (b"content-length", b"6")], []),
    ],
)
def test_a_body_is_framed_in_one_way(
    received: list[headers.Header], framing: list[headers.Header]
) -> None:
    assert headers.body_framing(received) == framing


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"a=1; Domain=example.net; Path=/", b"a=1; Path=/"),
        (b"a=1;DOMAIN = .ports.example.net;Secure", b"a=1;Secure"),
        (b"a=1; domain", b"a=1"),
        (b"domain=1; Path=/", b"domain=1; Path=/"),
        (b"a=domain=x", b"a=domain=x"),
    ],
)
def test_a_cookie_stays_with_its_name(sent: bytes, kept: bytes) -> None:
    answer = headers.for_visitor([(b"set-cookie", sent)], COOKIES.both, is_private=False)

    assert answer == [(b"set-cookie", kept)]


@pytest.mark.parametrize(
    "sent", [b"__Host-pve402-login=x", b" __HOST-PVE402-SEEN =1; Path=/", b"__host-pve402-login="]
)
def test_a_container_sets_no_cookie_of_ours(sent: bytes) -> None:
    assert headers.for_visitor([(b"set-cookie", sent)], COOKIES.both, is_private=False) == []


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ([], b"private"),
        ([b"public, max-age=60"], b"max-age=60, private"),
        ([b"s-maxage=9", b"no-store"], b"no-store"),
        ([b"Private"], b"Private"),
    ],
)
def test_no_cache_between_shares_a_private_answer(sent: list[bytes], kept: bytes) -> None:
    received = [(b"cache-control", value) for value in sent]

    answer = headers.for_visitor(received, COOKIES.both, is_private=True)

    assert answer == [(b"cache-control", kept)]


def test_of_two_lengths_of_an_answer_the_one_that_counts_is_told() -> None:
    received = [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")]

    assert not {*dict(headers.for_visitor(received, (), is_private=False))} & {*dict(received)}
    assert b"content-length" not in dict(headers.for_main_origin(received))


def test_a_value_with_control_characters_is_no_value() -> None:
    with pytest.raises(ValueError, match="control"):
        headers.for_visitor([(b"x-a", b"a\x01b")], (), is_private=False)


@pytest.mark.parametrize(
    "name",
    [
        b"set-cookie",
        b"service-worker-allowed",
        b"access-control-allow-origin",
        b"clear-site-data",
        b"strict-transport-security",
        b"cross-origin-opener-policy",
        b"refresh",
        b"link",
    ],
)
def test_an_answer_on_our_own_origin_sets_nothing(name: bytes) -> None:
    answer = dict(headers.for_main_origin([(name, b"x"), (b"content-security-policy", b"x")]))

    assert name not in answer
    assert answer[b"content-security-policy"] == b"sandbox"


@pytest.mark.parametrize(
    "location",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "http://localhost:81/",
        "https://80-l.ports.example.net.evil.example/",
        "https://80-l.ports.example.net@evil/",
        "relative/path",
        "javascript:alert(1)",
        "http://127.0.0.1:80.evil.example/",
        "/\t/evil.example",
        "/.\\evil.example",
        "/../../2/80/",
        "/a/%2E./%2e%2e/../2/80/",
        "http://localhost:80/..",
    ],
)
def test_a_token_is_led_nowhere_else(location: str) -> None:
    received = [(b"location", location.encode())]

    answer = headers.with_location(received, VISITOR, 80, has_token=True)
    for_browser = headers.with_location(received, VISITOR, 80, has_token=False)

    assert answer == [(b"pve402-location", location.encode())]
    assert for_browser == received


def test_a_path_gets_the_prefix_that_the_server_does_not_see() -> None:
    visitor = headers.Visitor(
        host="localhost:80", scheme="http", address=None, prefix="/management/http/1/80"
    )
    for location in (b"/next?a=/../b", b"/...a/.b"):
        answer = headers.with_location([(b"location", location)], visitor, 80, has_token=True)
        assert answer == [(b"location", b"/management/http/1/80" + location)]
    for location in (b"/next?a", b"http://localhost:80/next?a", b"http://127.0.0.1:80/next?a"):
        answer = headers.with_location([(b"location", location)], visitor, 80, has_token=True)
        assert answer == [(b"location", b"/management/http/1/80/next?a")]


@pytest.mark.parametrize(
    ("cookies", "found"),
    [([b"n=1"], "1"), ([b"n=1", b"n=2"], None), ([b"n=1; n=2"], None), ([b"m=1"], None)],
)
def test_a_cookie_counts_if_it_is_the_only_one(cookies: list[bytes], found: str | None) -> None:
    assert headers.cookie([(b"cookie", value) for value in cookies], "n") == found
