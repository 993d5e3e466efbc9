"""The reference pages say what the code says."""

import re
import tomllib

import pytest
from scripts import reference
from tests.support import project

from pve402.domain import catalogue
from pve402.payments import errors as payment_errors
from pve402.proxmox import access

REFERENCE = project.ROOT / "docs" / "reference"


@pytest.mark.parametrize("part", reference.PARTS)
def test_generated_parts_are_up_to_date(part: str) -> None:
    page, expected = reference.page_with_part(part)

    assert page.read_text(encoding="utf-8") == expected, "run scripts/reference.py"


def test_the_catalogue_shown_is_the_one_shipped() -> None:
    page = (REFERENCE / "settings.md").read_text(encoding="utf-8")
    shown = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    shipped = project.ROOT / "src" / "pve402" / "domain" / "default_catalogue.toml"

    assert shown
    assert catalogue.parse(shown[1])
    assert tomllib.loads(shown[1]) == tomllib.loads(shipped.read_text(encoding="utf-8"))


def test_every_reason_to_reject_a_payment_is_explained() -> None:
    page = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    _, _, reasons = page.partition("## Why a payment")

    explained = re.findall(r"^\| `([a-z0-9_]+)` \|", reasons, re.MULTILINE)

    assert sorted(explained) == sorted(payment_errors.Code)


@pytest.mark.parametrize("name", reference.FILES)
def test_generated_files_are_up_to_date(name: str) -> None:
    kept = (REFERENCE / name).read_text(encoding="utf-8")

    assert kept == reference.FILES[name](), "run scripts/reference.py"


def test_the_page_on_rights_grants_what_is_needed() -> None:
    page = (project.ROOT / "docs" / "how-to" / "proxmox-rights.md").read_text(encoding="utf-8")
    roles = dict(re.findall(r'pveum role add (\w+) --privs "([^"]+)"', page))

    assert not [role for role in roles if role.lower().startswith("pve")]
    assert set(roles["R402Guests"].split()) == access.GUEST_PRIVILEGES
    assert [roles[name] for name in ("R402Storage", "R402Bridge", "R402Node")] == [
        "Datastore.AllocateSpace",
        "SDN.Use",
        "Sys.Audit",
    ]


def test_alarms_are_on_metrics_that_exist() -> None:
    page = (REFERENCE / "metrics.md").read_text(encoding="utf-8")
    table, _, alarms = page.partition("## Alarms")

    assert set(re.findall(r"pve402_\w+", alarms)) <= set(re.findall(r"pve402_\w+", table))
