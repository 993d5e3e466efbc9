"""Which host names browsers take for one site: those with the same registrable domain."""

import ipaddress


def are_one(first: str, second: str) -> bool:
    """Whether two hosts are one site to browsers, by the Public Suffix List (publicsuffix.org)."""
    return _site(first) == _site(second)


def _site(host: str) -> str:
    """The registrable domain; a host that has none, such as an address, is a site by itself."""
    host = host.rstrip(".").lower()
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        # The list takes 40 ms to read, and most services publish no ports.
        import publicsuffixlist  # noqa: PLC0415

        return publicsuffixlist.PublicSuffixList().privatesuffix(host) or host
