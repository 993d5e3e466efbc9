"""Finds variables that look like settings but are not: usually typos."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dotenv import dotenv_values

from pve402.config.settings import Settings
from pve402.payments import networks

_TENANTS_OWN: Final = frozenset(
    {"PVE402_URL", "PVE402_TOKEN", "PVE402_WALLET_KEY", "PVE402_MAX_USD", "PVE402_ROOT_PASSWORD"}
    | {"PVE402_LEDGER", "PVE402_RPC_URL"}
)
_PREFIXES: Final = ("PVE_", "PVE402_", "RPC_URL_", "FACILITATOR_")
_ALIKE: Final = 0.75


def unknown_variables(env_file: Path | None) -> Mapping[str, str | None]:
    """Return each unknown variable in the environment and file, with the setting it may mean.

    Variables of other programs are not listed; one in the file is, if it looks like a setting.
    """
    in_file = set(dotenv_values(env_file or ".env"))
    known = known_variables() | _TENANTS_OWN
    strange = sorted(name for name in {*os.environ, *in_file} if name.upper() not in known)
    return {
        name: _nearest(name, known)
        for name in strange
        if name.upper().startswith(_PREFIXES) or (name in in_file and _nearest(name, known, _ALIKE))
    }


def known_variables() -> frozenset[str]:
    """Return the names of all settings, those of single networks included."""
    suffixes = [network.name.replace("-", "_").upper() for network in networks.NETWORKS]
    per_network = {f"{kind}_URL_{s}" for kind in ("RPC", "FACILITATOR") for s in suffixes}
    fields = {name.upper() for name in Settings.model_fields}
    return frozenset(fields | per_network)


def _nearest(name: str, known: frozenset[str], cutoff: float = 0.6) -> str | None:
    return next(iter(difflib.get_close_matches(name.upper(), known, n=1, cutoff=cutoff)), None)
