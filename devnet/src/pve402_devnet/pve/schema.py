"""Parameter schemas: what a call accepts, and the error texts for everything else.

The checks have the order and texts of PVE::JSONSchema, because clients depend on them: type,
format, pattern, length, range, enumeration.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pve402_devnet.pve import errors, formats

UNKNOWN_PROPERTY = (
    "property is not defined in schema and the schema does not allow additional properties"
)
MISSING_PROPERTY = "property is missing and it is not optional"

_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)  # longer ones are no size of anything
_NUMBER = re.compile(r"[+-]?(?:\d+\.\d+|\d+\.|\.\d+|\d+)(?:[eE][+-]?\d+)?", re.ASCII)
ARRAY_SEPARATOR = "\n"
"""Between the items of a parameter of type array, once it is checked."""

_TYPE_PATTERNS = {"boolean": re.compile("[01]"), "integer": _INTEGER, "number": _NUMBER}

Parameters = Mapping[str, object]
Clean = dict[str, str | int]


@dataclass(frozen=True, kw_only=True)
class Property:
    """One parameter. `format` is a name of `formats`, `parts` the keys of a property string."""

    type: str = "string"
    optional: bool = False
    format: str | None = None
    parts: "Mapping[str, Property] | None" = None
    pattern: str | None = None
    min_length: int | None = None
    max_length: int | None = None
    minimum: int | None = None
    maximum: int | None = None
    enum: tuple[str, ...] = ()
    requires: str | None = None
    default_key: bool = False


Properties = Mapping[str, Property]


def validate(values: Parameters, properties: Properties) -> Clean:
    """Check all parameters of a call and return them with integers and booleans as int.

    Raises `errors.ParameterErrors` with a text for each bad one.
    """
    joined = _join_lists(values, properties)
    problems = check_object(joined, properties, "")
    if problems:
        raise errors.ParameterErrors(problems)
    return {
        name: _clean(properties[name], value) for name, value in joined.items() if value is not None
    }


def check_object(values: Parameters, properties: Properties, path: str) -> dict[str, str]:
    """Collect a text for each key that is missing, bad or unknown."""
    problems: dict[str, str] = {}
    for name, definition in properties.items():
        problem = _check(values.get(name), definition, _join(path, name))
        if problem is not None:
            problems[_join(path, name)] = problem
    for name, value in values.items():
        if name not in properties:
            problems[_join(path, name)] = UNKNOWN_PROPERTY
            continue
        required = properties[name].requires
        if required and value is not None and values.get(required) is None:
            problems[_join(path, required)] = f"missing property required by '{_join(path, name)}'"
    return problems


def parse_property_string(text: str, parts: Properties, path: str = "") -> dict[str, str]:
    """Read `key=value,key=value`; raises FormatError or `errors.Failure` with the keys' errors."""
    result: dict[str, str] = {}
    for part in text.split(","):
        if part.strip():
            key, value = _split_part(part, parts, result)
            result[key] = value
    problems = check_object(result, parts, path)
    if problems:
        raise errors.Failure("format error", problems)
    return result


def print_property_string(values: Mapping[str, str], parts: Properties) -> str:
    """Write a property string: the default key bare, required keys, then the rest by name."""

    def rank(name: str) -> tuple[int, str]:
        definition = parts[name]
        if definition.default_key:
            return (0, name)
        return (2 if definition.optional else 1, name)

    return ",".join(
        values[name] if parts[name].default_key else f"{name}={values[name]}"
        for name in sorted(values, key=rank)
    )


def _split_part(part: str, parts: Properties, seen: Mapping[str, str]) -> tuple[str, str]:
    key, equals, value = part.partition("=")
    if equals and (not key or not value):
        raise formats.FormatError("missing key in comma-separated list property\n")
    if not equals:
        key = next((name for name, definition in parts.items() if definition.default_key), "")
        if not key:
            raise formats.FormatError(
                "value without key, but schema does not define a default key\n"
            )
        value = part
    if key in seen:
        raise formats.FormatError(f"duplicate key in comma-separated list property: {key}\n")
    if key in parts and parts[key].type == "boolean":
        value = formats.parse_boolean(value) or value
    return key, value


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _join_lists(values: Parameters, properties: Properties) -> dict[str, object]:
    """A repeated list parameter is one list; any other repeated parameter stays an array."""
    joined = dict(values)
    for name, value in values.items():
        definition = properties.get(name)
        if not isinstance(value, list) or definition is None:
            continue
        if (definition.format or "").endswith("-list"):
            joined[name] = ",".join(str(item) for item in value)
        elif definition.type == "array":
            joined[name] = ARRAY_SEPARATOR.join(str(item) for item in value)
    return joined


def _clean(definition: Property, value: object) -> str | int:
    if definition.type in ("integer", "boolean"):
        return int(str(int(value)) if isinstance(value, bool) else str(value))
    return str(value)


def _check(value: object, definition: Property, path: str) -> str | None:
    if value is None:
        return None if definition.optional else MISSING_PROPERTY
    problem = _check_type(value, definition.type)
    if problem is not None:
        return problem
    text = str(int(value)) if isinstance(value, bool) else str(value)
    return _check_format(text, definition, path) or _check_limits(text, definition)


def _check_type(value: object, kind: str) -> str | None:
    if isinstance(value, bool) and kind == "boolean":
        return None
    for python_type, perl_name in ((bool, "JSON::PP::Boolean"), (list, "ARRAY"), (dict, "HASH")):
        if isinstance(value, python_type):
            return f"type check ('{kind}') failed - got {perl_name}"
    text = str(value)
    pattern = _TYPE_PATTERNS.get(kind)
    if pattern is None or pattern.fullmatch(text):
        return None
    return f"type check ('{kind}') failed - got '{text}'"


def _check_format(text: str, definition: Property, path: str) -> str | None:
    try:
        if definition.parts is not None:
            parse_property_string(text, definition.parts, path)
        elif definition.format is not None:
            formats.check(definition.format, text)
    except formats.FormatError as problem:
        return f"invalid format - {problem}"
    except errors.Failure as problem:
        lines = "".join(f"{key}: {why}\n" for key, why in sorted(problem.errors.items()))
        return f"invalid format - {problem.message}{lines}"
    return None


def _check_limits(text: str, definition: Property) -> str | None:
    if definition.pattern is not None and re.fullmatch(definition.pattern, text) is None:
        return "value does not match the regex pattern"
    if definition.max_length is not None and len(text) > definition.max_length:
        return f"value may only be {definition.max_length} characters long"
    if definition.min_length is not None and len(text) < definition.min_length:
        return f"value must be at least {definition.min_length} characters long"
    return _check_range(text, definition) or _check_enumeration(text, definition)


def _check_range(text: str, definition: Property) -> str | None:
    if _NUMBER.fullmatch(text) is None:
        return None
    if definition.maximum is not None and float(text) > definition.maximum:
        return f"value must have a maximum value of {definition.maximum}"
    if definition.minimum is not None and float(text) < definition.minimum:
        return f"value must have a minimum value of {definition.minimum}"
    return None


def _check_enumeration(text: str, definition: Property) -> str | None:
    if not definition.enum or text in definition.enum:
        return None
    listed = ", ".join(definition.enum)
    return f"value '{text}' does not have a value in the enumeration '{listed}'"
