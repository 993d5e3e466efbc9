"""What `pve402 e2b` makes of its options, before it serves anything."""

from pathlib import Path
from typing import Any

import pytest
import typer
from tests.support import tenant_service

from pve402.cli import e2b_work

USUAL: dict[str, Any] = {
    "port": 0,
    "templates": (),
    "cores": None,
    "memory_mb": None,
    "disk_gb": None,
    "publish": (),
    "max_usd": "1.00",
    "budget_usd": None,
}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"max_usd": "much"}, "an amount of USD must be a number"),
        ({"max_usd": "-1"}, "an amount of USD must be a number"),
        ({"budget_usd": "NaN"}, "give limits in USD"),
        ({"templates": ("base",)}, "--template is NAME=SKU"),
        ({"templates": ("=small",)}, "--template is NAME=SKU"),
        ({"templates": ("a b=small",)}, "--template is NAME=SKU"),
    ],
)
def test_a_wrong_option_is_told_before_anything_is_served(
    wrong: dict[str, Any],
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PVE402_WALLET_KEY", tenant_service.KEY)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    with pytest.raises(typer.Exit) as stopped:
        e2b_work.run("http://127.0.0.1:1", e2b_work.Asked(**{**USUAL, **wrong}))

    assert stopped.value.exit_code == 2
    assert why in capsys.readouterr().err
    assert not (tmp_path / "pve402/e2b.key").exists()
