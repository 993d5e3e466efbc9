"""Named formats: what passes and what does not."""

import pytest

from pve402_devnet.pve import formats


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dns-name", "a.example.com"),
        ("dns-name", "123"),
        ("dns-name", "a" * 64),
        ("ip", "10.0.0.1"),
        ("ip", "fd00::1"),
        ("lxc-ip-with-ll-iface-list", "10.0.0.1 fe80::1%eth0"),
        ("pve-ipv4-config", "10.0.0.1/24"),
        ("pve-ipv4-config", "dhcp"),
        ("pve-ipv6-config", "auto"),
        ("mac-addr", "BC:24:11:00:00:01"),
        ("pve-startup-order", "order=2,up=5"),
        ("pve-tag-list", "one;Two,three four"),
        ("pve-vmid", "999999999"),
        ("pve-ct-timezone", "host"),
        ("pve-poolid", "a/b/c"),
    ],
)
def test_good_values_pass(name: str, text: str) -> None:
    formats.check(name, text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dns-name", "-bad-"),
        ("dns-name", ""),
        ("ip", "10.0.0"),
        ("pve-ipv4-config", "10.0.0.1"),
        ("pve-ipv4-config", "10.0.0.1/7"),
        ("pve-ipv6-config", "fd00::1/129"),
        ("mac-addr", "01:24:11:00:00:01"),
        ("pve-startup-order", "soon"),
        ("pve-tag-list", "good bad!"),
        ("pve-vmid", "0110"),
        ("pve-vmid", "1000000000"),
        ("pve-ct-timezone", "Mars/Olympus"),
        ("pve-storage-id", "a"),
        ("pve-volume-id", "nocolon"),
        ("pve-lxc-mp-string", "/a/../b"),
        ("pve-lxc-dev-string", "/etc/passwd"),
        ("pve-poolid", "a/b/c/d"),
        ("disk-size", "10Q"),
    ],
)
def test_bad_values_are_refused(name: str, text: str) -> None:
    with pytest.raises(formats.FormatError):
        formats.check(name, text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("10", 10), ("1K", 1024), ("1.5G", 1_610_612_736), ("2TiB", 2 * 1024**4), ("x", None)],
)
def test_sizes_are_read(text: str, size: int | None) -> None:
    assert formats.parse_size(text) == size


@pytest.mark.parametrize(
    ("size", "text"), [(1024**3, "1G"), (512 * 1024**2, "512M"), (1000, "1000"), (0, "0T")]
)
def test_sizes_are_written_with_the_largest_unit(size: int, text: str) -> None:
    assert formats.format_size(size) == text
