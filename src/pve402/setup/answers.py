"""What the operator wants: arguments first, then the file as it is, then questions."""

from collections.abc import Mapping, Sequence
from typing import Final, get_args

from pydantic import SecretStr

from pve402 import config
from pve402.setup.operator import Cancelled, Operator

_SUGGESTED: Final = {
    "PVE_TOKEN_ID": "pve402@pve!service",
    "PVE_STORAGE": "local-lvm",
    "PVE_OS_TEMPLATE": "local:vztmpl/debian-12-standard_12.12-1_amd64.tar.zst",
    "NETWORK": "base-sepolia",
}
_ASKED: Final = ("PVE_HOST", "PVE_STORAGE", "PVE_OS_TEMPLATE", "PAY_TO")
SECRET = "PVE_TOKEN_SECRET"  # noqa: S105 -- the variable's name


def parse(arguments: Sequence[str]) -> dict[str, str]:
    """Return settings written NAME=VALUE. Raises Cancelled for what is none, and for secrets."""
    pairs = [argument.partition("=")[::2] for argument in arguments]
    for name, value in pairs:
        field = config.Settings.model_fields.get(name.lower())
        if field is not None and _is_secret(field.annotation):
            raise Cancelled(f"{name}: a secret does not belong on the command line; edit the file")
        if not value or (field is None and name not in config.known_variables()):
            raise Cancelled(f"{name}: settings are written NAME=VALUE; this is none")
    return {name.upper(): value for name, value in pairs}


def complete(
    given: Mapping[str, str], kept: Mapping[str, str], operator: Operator
) -> dict[str, str]:
    """Return what is to be set; asks for what is required and missing.

    Raises Cancelled, which names all that is missing, if nobody can be asked.
    """
    chosen = {**_without_kept(_SUGGESTED, kept), **given}
    known = {**kept, **chosen}
    if operator.can_answer:
        for name in _ASKED:
            if name not in kept and name not in given:
                chosen[name] = operator.ask(_question(name), known.get(name))
        return chosen
    missing = [name for name in _ASKED if name not in known]
    if missing:
        raise Cancelled(f"say what is missing: {' '.join(f'{name}=...' for name in missing)}")
    return chosen


def _without_kept(suggested: Mapping[str, str], kept: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in suggested.items() if name not in kept}


def _question(name: str) -> str:
    field = config.Settings.model_fields[name.lower()]
    return f"{name} ({str(field.description).rstrip('.')})"


def _is_secret(kind: object) -> bool:
    """Return whether an annotation has SecretStr anywhere in it."""
    return kind is SecretStr or any(map(_is_secret, get_args(kind)))
