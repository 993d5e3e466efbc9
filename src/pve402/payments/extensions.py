"""Writes the extensions of x402 version 2 that we declare about a resource.

`bazaar` tells catalogues what a resource takes and answers, `payment-identifier` lets clients name
an order. Facilitators that keep a catalogue get our own declarations with each payment, never those
that the payer sent back: payers may change them. The form of `bazaar` is that of the official SDKs,
whose validators the tests run.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

SERVICE: Final = {"serviceName": "pve402", "tags": ["linux", "container", "compute", "sandbox"]}
"""What catalogues show beside a resource; facilitators alone get it."""
IDENTIFIER: Final = "payment-identifier"
IDENTIFIER_DECLARED: Final[Mapping[str, Any]] = {
    "info": {"required": False},
    "schema": {
        "type": "object",
        "properties": {
            "required": {"type": "boolean"},
            "id": {"type": "string", "minLength": 16, "maxLength": 128},
        },
        "required": ["required"],
    },
}
"""Never required: official clients echo the declaration and add no id of their own."""

_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Declared:
    """Our extensions for one resource as JSON texts, so that terms are hashable."""

    forms: tuple[str, ...]
    """The complete form first, then shorter ones, for 402s with less room."""
    later: int = 0
    """Bytes of the header to leave free for what each 402 adds."""

    @property
    def full(self) -> str:
        """Return the complete form, which facilitators get."""
        return self.forms[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A valid value and its JSON Schema."""

    value: Any
    schema: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Resource:
    """What a paid route takes and answers; `path` is its pattern, such as `/lease/{ctid}`."""

    method: str
    path: str
    body: Sample | None = None
    body_type: Literal["json", "text"] = "json"
    query: Sample | None = None
    answer: Sample | None = None


def declared(resource: Resource, path: str, *, takes_identifier: bool, later: int = 0) -> Declared:
    """Return the declarations of a resource at one of its paths."""
    more = {IDENTIFIER: IDENTIFIER_DECLARED} if takes_identifier else {}
    without_answer = dataclasses.replace(resource, answer=_bare(resource.answer))
    bare = dataclasses.replace(without_answer, body=_bare(resource.body))
    least = dataclasses.replace(bare, answer=None, query=_bare(resource.query))
    forms = (
        _compact({"bazaar": bazaar(form, path), **more})
        for form in (resource, without_answer, bare, least)
    )
    return Declared(forms=tuple(forms), later=later)


def bazaar(resource: Resource, path: str) -> dict[str, Any]:
    """Return the `bazaar` extension: example data, and a JSON Schema (2020-12) of it."""
    info, schema = _input(resource, path)
    properties: dict[str, Any] = {"input": schema}
    document: dict[str, Any] = {"info": {"input": info}}
    if resource.answer is not None:
        document["info"]["output"] = {"type": "json", "example": resource.answer.value}
        properties["output"] = _object({"type": {}, "example": resource.answer.schema})
    document["schema"] = {**_object(properties), "required": ["input"]}
    if "{" in resource.path:
        document["routeTemplate"] = re.sub(r"{(\w+)}", r":\1", resource.path)
    return document


def _input(resource: Resource, path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the example of a request and its schema."""
    info: dict[str, Any] = {"type": "http", "method": resource.method}
    schema: dict[str, Any] = {"type": {"const": "http"}, "method": {"const": resource.method}}
    required = ["type", "method"]
    if resource.method in _WITH_BODY:
        body = resource.body or Sample(value={}, schema={"type": "object"})
        info |= {"bodyType": resource.body_type, "body": body.value}
        schema |= {"bodyType": {"const": resource.body_type}, "body": body.schema}
        required += ["bodyType", "body"]
    if resource.query is not None:
        info["queryParams"], schema["queryParams"] = resource.query.value, resource.query.schema
    named = _in_path(resource.path, path)
    if named:
        info["pathParams"] = named
        schema["pathParams"] = _object({name: {"type": "string"} for name in named})
    return info, {**_object(schema), "required": required}


def _bare(sample: Sample | None) -> Sample | None:
    """Return a sample whose fields are not described."""
    if sample is None:
        return None
    kept = {word: value for word, value in sample.schema.items() if word in {"type", "required"}}
    return dataclasses.replace(sample, schema=kept)


def _in_path(pattern: str, path: str) -> dict[str, str]:
    pairs = zip(pattern.split("/"), path.split("/"), strict=False)
    return {part[1:-1]: value for part, value in pairs if part.startswith("{")}


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _compact(document: Mapping[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))
