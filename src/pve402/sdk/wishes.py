"""What callers ask for, turned into checked requests; what they leave open is chosen here."""

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from pve402 import client, schemas
from pve402.client import errors

Wish = TypeVar("Wish", bound=BaseModel)

KEY_VARIABLE: Final = "PVE402_WALLET_KEY"
_MOST_PROBLEMS: Final = 5


def checked(model: type[Wish], **fields: Any) -> Wish:
    """Build a request without the fields that are None. Raises RequestInvalid."""
    try:
        return model(**{name: value for name, value in fields.items() if value is not None})
    except ValidationError as error:
        told = [f"{'.'.join(map(str, it['loc']))}: {it['msg']}" for it in error.errors()]
        raise errors.RequestInvalid(errors.plain("; ".join(told[:_MOST_PROBLEMS]))) from None


def program(
    command: str | Sequence[str], env: Mapping[str, str] | None, cwd: str, user: str
) -> dict[str, Any]:
    """The fields of a program: text is for the container's shell, a sequence is run as it is."""
    what = {"command": command} if isinstance(command, str) else {"argv": list(command)}
    return {**what, "env": dict(env or {}), "cwd": cwd, "user": user}


def wallet_key(key: str | None) -> str | None:
    """The key that was given, or the one in the environment."""
    return key or os.environ.get(KEY_VARIABLE, "").strip() or None


async def lease(
    service: client.Client, key: str | None, idempotency_key: str, **fields: Any
) -> schemas.LeaseRequest:
    """Complete a request for a lease: the first sku on sale, its usual or else smallest size.

    Without password and SSH keys, root gets a password that only the wallet's key can make again
    from the idempotency key, so that repeating the call repeats the request.
    """
    if fields["sku"] is None or None in (fields[name] for name in _SIZES):
        fields = _completed(await service.catalogue(), fields)
    if fields["password"] is None and not fields["ssh_public_keys"]:
        # without a key nothing can be paid
        fields["password"] = root_password(key or secrets.token_hex(32), idempotency_key)
    return checked(schemas.LeaseRequest, **fields)


def root_password(key: str, of_what: str) -> str:
    """A password of root that only this key can make again, for a lease or an order."""
    secret = key.strip().lower().removeprefix("0x").encode()
    return hmac.new(secret, f"root {of_what}".encode(), hashlib.sha256).hexdigest()


_SIZES: Final = ("cores", "memory_mb", "disk_gb")


def _completed(catalogue: schemas.CatalogueAnswer, fields: Mapping[str, Any]) -> dict[str, Any]:
    sku = next((it for it in catalogue.skus if fields["sku"] in {None, it.sku}), None)
    if sku is None:
        raise errors.RequestInvalid("the service sells no such sku; see its catalogue")
    chosen = {**fields, "sku": sku.sku}
    for name in _SIZES:
        if chosen[name] is None:
            bounds: schemas.Bounds = getattr(sku, name)
            usual: int = schemas.LeaseRequest.model_fields[name].default
            chosen[name] = max(bounds.min, min(usual, bounds.max))
    return chosen
