"""What a paid route takes and answers, as catalogues of x402 want to know it.

It follows from the models and parameters that also make the OpenAPI document. Catalogues get the
types of fields only, because a 402's header has little room; the document has the rest.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from pve402.payments import extensions

_SIGN_IN_CHARACTERS = 370  # of the extension that each 402 of a management call adds, less URLs


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Shape:
    """The models, parameters and examples of one route."""

    request: type[BaseModel] | None = None
    answer: Any = None
    queries: Sequence[Mapping[str, Any]] = ()  # as OpenAPI has them
    text_body: bool = False
    is_purchase: bool = False  # it has an order, which a client may name


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Listed:
    """A paid route as catalogues list it; `example` is the body to show in place of our own."""

    method: str
    path: str
    shape: Shape
    example: Mapping[str, Any] | None = None

    def declared(self, path: str, public_url: str) -> extensions.Declared:
        """Return the extensions to declare at one of the route's paths."""
        if self.shape.is_purchase:
            return extensions.declared(self.resource, path, takes_identifier=True)
        later = (_SIGN_IN_CHARACTERS + 2 * len(public_url) + len(path)) * 4 // 3
        return extensions.declared(self.resource, path, takes_identifier=False, later=later)

    @functools.cached_property
    def resource(self) -> extensions.Resource:
        """The route in the words of x402."""
        shape = self.shape
        return extensions.Resource(
            method=self.method,
            path=self.path,
            body=self._body(),
            body_type="text" if shape.text_body else "json",
            query=_of_queries(shape.queries) if shape.queries else None,
            answer=_of_answer(shape.answer) if shape.answer is not None else None,
        )

    def _body(self) -> extensions.Sample | None:
        if self.shape.text_body:
            return extensions.Sample(value="hello", schema={"type": "string"})
        if self.shape.request is None:
            return None
        found = _of_model(self.shape.request)
        return found if self.example is None else dataclasses.replace(found, value=self.example)


def _of_answer(answer: Any) -> extensions.Sample:
    if get_origin(answer) is list:
        (item,) = get_args(answer)
        schema = _of_model(item, mode="serialization").schema
        return extensions.Sample(value=[], schema={"type": "array", "items": schema})
    return _of_model(answer, mode="serialization")


def _of_model(
    model: type[BaseModel], *, mode: Literal["validation", "serialization"] = "validation"
) -> extensions.Sample:
    """Return the types of a model's fields, and those of its examples that make a valid value."""
    schema = model.model_json_schema(mode=mode)
    properties, required = schema.get("properties", {}), schema.get("required", [])
    shown = required if mode == "validation" and required else properties
    value = {
        name: properties[name]["examples"][0] for name in shown if "examples" in properties[name]
    }
    types = {name: _type(described, schema) for name, described in properties.items()}
    return extensions.Sample(value=value, schema=_object(types, required, mode))


def _object(types: Mapping[str, Any], required: Sequence[str], mode: str) -> dict[str, Any]:
    """An example shows only a part of an answer, so of an answer nothing is required."""
    is_strict = mode == "validation" and required
    return {"type": "object", "properties": types} | ({"required": required} if is_strict else {})


def _of_queries(queries: Sequence[Mapping[str, Any]]) -> extensions.Sample:
    value = {one["name"]: one["example"] for one in queries if "example" in one}
    types = {one["name"]: {"type": one["schema"]["type"]} for one in queries}
    required = [one["name"] for one in queries if one["required"]]
    return extensions.Sample(value=value, schema=_object(types, required, "validation"))


def _type(described: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a field's type; of one that may be null, that of its value."""
    for one in described.get("anyOf", [described]):
        if "$ref" in one:
            return _type(schema["$defs"][one["$ref"].rpartition("/")[2]], schema)
        if one.get("type", "null") != "null":
            return {"type": one["type"]}
    return {}
