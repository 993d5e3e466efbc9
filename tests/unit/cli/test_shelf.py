"""What is on sale, in columns."""

from datetime import UTC, datetime

from pve402 import schemas
from pve402.cli import shelf

BOUNDS = schemas.Bounds(min=1, max=2)
RATES = dict.fromkeys(
    ("base_usd", "core_minute_usd", "memory_gb_minute_usd", "disk_gb_minute_usd"), "0.1"
)


def sku(name: str, *templates: str) -> schemas.SkuItem:
    bounds = dict.fromkeys(("cores", "memory_mb", "disk_gb", "runtime_minutes"), BOUNDS)
    return schemas.SkuItem(sku=name, description="", templates=list(templates), **RATES, **bounds)


def test_images_are_shown_with_what_sells_them(capsys):
    updated = datetime(2026, 1, 2, tzinfo=UTC)
    image = schemas.Image(
        name="debian-12", os="Debian 12", description="", size_bytes=3 << 20, updated_at=updated
    )
    unseen = schemas.Image(name="new", os="", description="", size_bytes=None, updated_at=None)
    found = schemas.CatalogueAnswer(
        skus=[sku("a", "debian-12"), sku("b", "debian-12", "new"), sku("c", "own")],
        management_fee_usd="0",
        networks=[],
        images=[image, unseen],
    )

    shelf.tell(found)

    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    shown = {line[0]: [word.strip() for word in line[1:] if word] for line in lines}
    assert shown["debian-12"] == ["Debian 12", "3", "2026-01-02", "a, b"]
    assert shown["new"] == ["b"]


def test_what_a_minute_costs_beside_the_size_is_shown_where_it_costs_something(capsys):
    dear = sku("dear").model_copy(
        update={"paused_usd_minute": "0.02", "image_gb_usd_minute": "0.000004"}
    )
    found = schemas.CatalogueAnswer(skus=[sku("plain"), dear], management_fee_usd="0", networks=[])

    shelf.tell(found)

    *_, heads, row = capsys.readouterr().out.splitlines()
    assert heads.split("  ")[0] == "USD per minute"
    assert row.split() == ["dear", "0.02", "0.000004"]
    assert row.index("0.000004") == heads.index("GiB of private image")


def test_without_images_there_is_no_table_of_them(capsys):
    found = schemas.CatalogueAnswer(skus=[sku("a", "own")], management_fee_usd="0", networks=[])

    shelf.tell(found)

    assert len(capsys.readouterr().out.splitlines()) == 2
