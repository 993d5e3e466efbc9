"""Parses request bodies, which may contain anything."""

from __future__ import annotations

from typing import Any

import pydantic_core

Json = dict[str, Any]

DEFAULT_NETWORK = "eip155:84532"


class BadQuestion(ValueError):
    """The request body is not a payment with requirements of one x402 version."""


def json_or_none(text: str | None) -> Json | None:
    """Return a JSON object, or None for anything else."""
    try:
        # Not json.loads: the SDK's libraries raise the recursion limit of the whole process so
        # far that deeply nested brackets end it. This parser has a limit of its own.
        found = pydantic_core.from_json(text or "", allow_inf_nan=False)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def declared(question: Json) -> Json:
    """Return the resource and the extensions that a question names, if any."""
    payload = question.get("paymentPayload")
    if not isinstance(payload, dict):
        return {}
    return {name: payload[name] for name in ("resource", "extensions") if name in payload}


def authorization(question: Json) -> Json:
    """Return the EIP-3009 authorization of a payment, empty if there is none."""
    found: Any = question
    for name in ("paymentPayload", "payload", "authorization"):
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def network(question: Json) -> str:
    """Return the network that the requirements name."""
    requirements = question.get("paymentRequirements")
    found = requirements.get("network") if isinstance(requirements, dict) else None
    return str(found or DEFAULT_NETWORK)


def payment_key(question: Json) -> str:
    """Return what identifies a payment: payer and nonce."""
    found = authorization(question)
    return f"{found.get('from')}/{found.get('nonce')}".lower()
