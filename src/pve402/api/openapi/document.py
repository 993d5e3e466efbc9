"""Completes the document that FastAPI generates from the routes.

FastAPI's version lacks the schemas of request bodies, because handlers read the bodies themselves,
and the security requirements.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from pve402 import __version__
from pve402.api.messages import guide
from pve402.api.openapi import parts, prices
from pve402.api.transport import errors, routing
from pve402.domain import catalogue


@dataclasses.dataclass(kw_only=True)
class Document:
    """Builds the document once, and keeps its prices those of the catalogue on sale."""

    app: FastAPI
    public_url: str
    on_sale: Callable[[], catalogue.Catalogue]
    told: catalogue.Catalogue | None = None

    def __call__(self) -> dict[str, Any]:
        """Return the document."""
        now = self.on_sale()
        if self.app.openapi_schema is None:
            self.app.openapi_schema = self._made()
        if now is not self.told:
            prices.tell(self.app.openapi_schema, now)
            self.told = now
        return self.app.openapi_schema

    def _made(self) -> dict[str, Any]:
        plain = [route for route in self.app.routes if isinstance(route, routing.PlainRoute)]
        document = get_openapi(
            title="pve402",
            version=__version__,
            summary="Proxmox VE containers by the minute, paid with x402.",
            description=parts.DESCRIPTION,
            routes=[route.documented() for route in plain],
            servers=[{"url": self.public_url}],
            license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        )
        _, extra = models_json_schema(
            [(model, "validation") for model in parts.REQUESTS],
            ref_template="#/components/schemas/{model}",
        )
        document["info"]["x-guidance"] = guide.GUIDANCE
        document["x-agentcash-guidance"] = {"llmsTxtUrl": f"{self.public_url}/llms.txt"}
        components = document.setdefault("components", {})
        known = components.setdefault("schemas", {})
        known.update(extra["$defs"] | parts.SCHEMAS)
        components["securitySchemes"] = parts.SECURITY_SCHEMES
        known["Problem"]["properties"]["code"]["enum"] = errors.codes()
        for path, operations in document["paths"].items():
            for operation in operations.values():
                _complete(path, operation)
        _tidy(document)
        return document


def _tidy(node: Any) -> None:
    """Remove what makes client generators fail or produce ugly names.

    A null default goes because null means the field is absent, and a title goes because it only
    repeats the field's name.
    """
    if isinstance(node, list):
        for each in node:
            _tidy(each)
    if not isinstance(node, dict):
        return
    if "default" in node and node["default"] is None:
        del node["default"]
    if isinstance(node.get("title"), str) and "properties" not in node and "version" not in node:
        del node["title"]
    for each in node.values():
        _tidy(each)


def _opened_by(names: set[str]) -> list[dict[str, list[str]]]:
    """Return what opens a route that takes payments, by the names of its parameters."""
    if "Idempotency-Key" not in names:  # a management call
        return [{}, {"token": []}, {"wallet": []}]
    return [{}, {"token": []}] if "ctid" in names else []  # before a lease there is no token


def _complete(path: str, operation: dict[str, Any]) -> None:
    """Add the path parameter, the receipts of paid answers, and the security requirements."""
    parameters = operation["parameters"]
    for name, described in parts.IN_PATHS.items():
        if f"{{{name}}}" in path:
            parameters.insert(0, described)
    names = {parameter["name"] for parameter in parameters}
    if "X-PAYMENT" in names:
        operation["security"] = _opened_by(names)
        for status in ("200", "202"):
            if status in operation["responses"]:
                operation["responses"][status]["headers"] = parts.RECEIPTS
    needs_token = path == "/auth/token" and "204" in operation["responses"]
    if needs_token or path.startswith("/owed"):
        operation["security"] = [{"token": []}]
    if not parameters:
        del operation["parameters"]
