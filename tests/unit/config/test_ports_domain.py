"""The domain of published ports, which must be another site than the service."""

from pathlib import Path

import pytest
from tests.unit.config.test_settings import REQUIRED

from pve402 import config


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A file with the settings that must be given."""
    file = tmp_path / "settings.env"
    file.write_text("".join(f"{name}={value}\n" for name, value in REQUIRED.items()))
    return file


@pytest.mark.parametrize(
    ("public_url", "domain"),
    [
        ("https://rent.example.com", "ports.example.net"),
        ("https://rent.example.co.uk", "ports.another.co.uk"),
        ("https://rent.example.com", "Ports.Example.Net:8443"),
        ("http://127.0.0.1:4021", "ports.localhost:4021"),
        ("https://mine.github.io", "yours.github.io"),
    ],
)
def test_names_of_ports_are_another_site(given: Path, public_url: str, domain: str) -> None:
    made = config.load(given, pve402_public_url=public_url, pve402_ports_domain=domain)

    assert made.pve402_ports_domain == domain.lower()


@pytest.mark.parametrize(
    ("public_url", "domain"),
    [
        ("https://rent.example.com", "ports.example.com"),
        ("https://example.com", "example.com"),
        ("https://rent.example.co.uk", "ports.x.example.co.uk"),
        ("https://name.ports.localhost", "ports.localhost"),
    ],
)
def test_names_of_ports_on_the_services_own_site_are_refused(
    given: Path, public_url: str, domain: str
) -> None:
    with pytest.raises(config.SettingsError, match="registrable domain"):
        config.load(given, pve402_public_url=public_url, pve402_ports_domain=domain)


@pytest.mark.parametrize(
    "domain", ["net", "ports_.example.net", "*.example.net", "1.2.3.4", "a.example.net:0", "a.b:x"]
)
def test_a_domain_for_ports_is_a_domain(given: Path, domain: str) -> None:
    with pytest.raises(config.SettingsError, match="PVE402_PORTS_DOMAIN"):
        config.load(given, pve402_ports_domain=domain)
