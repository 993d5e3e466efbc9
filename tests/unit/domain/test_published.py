"""Names of published ports."""

import pytest

from pve402.domain import published

LEASE = "l" + "a1" * 12 + "z"
DOMAIN = published.PortsDomain("ports.example.net")
LOCAL = published.PortsDomain("ports.localhost:4021")


@pytest.mark.parametrize("domain", [DOMAIN, LOCAL])
def test_a_name_leads_back_to_its_port(domain: published.PortsDomain) -> None:
    host = domain.origin(8080, LEASE).partition("://")[2]

    named = domain.named(host.upper())

    assert named == published.PortName(host=host, lease_id=LEASE, port=8080)


def test_only_trials_on_one_machine_have_no_certificate() -> None:
    assert DOMAIN.origin(80, LEASE) == f"https://80-{LEASE}.ports.example.net"
    assert LOCAL.origin(80, LEASE) == f"http://80-{LEASE}.ports.localhost:4021"


@pytest.mark.parametrize(
    "host",
    [
        "rent.example.com",
        "example.net",
        f"80-{LEASE}.ports.example.net.evil.com",
        "",
        "127.0.0.1",
        f"80-{LEASE}ports.example.net",
        "notports.example.net",
        f"80-{LEASE}.example.net",
    ],
)
def test_hosts_elsewhere_are_not_ours_to_judge(host: str) -> None:
    assert DOMAIN.named(host) is None


@pytest.mark.parametrize(
    "label",
    [
        "",
        "80",
        LEASE,
        f"0-{LEASE}",
        f"080-{LEASE}",
        f"65536-{LEASE}",
        f"-1-{LEASE}",
        f"80-{LEASE}a",
        f"80-{LEASE[:-1]}",
        f"80--{LEASE}",
        f"a.80-{LEASE}",
        f"80-{LEASE}.b",
        f"٨-{LEASE}",
    ],
)
def test_names_under_the_domain_that_are_no_ports_are_misdirected(label: str) -> None:
    with pytest.raises(published.Misdirected):
        DOMAIN.named(f"{label}.ports.example.net")


@pytest.mark.parametrize("end", [".", ":80", ":443", ".:443", " "])
def test_a_name_has_one_form_only(end: str) -> None:
    host = f"80-{LEASE}.ports.example.net"
    if end == " ":
        assert DOMAIN.named(host + end) is None
        return
    with pytest.raises(published.Misdirected):
        DOMAIN.named(host + end)
