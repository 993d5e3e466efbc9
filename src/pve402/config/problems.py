"""Error messages for invalid settings."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from pve402.payments import networks

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def explain(error: ValidationError, fields: Mapping[str, FieldInfo]) -> dict[str, str]:
    """Return a line per invalid variable: its name, the reason and an example, never its value."""
    found: dict[str, str] = {}
    for problem in error.errors(include_url=False, include_input=False):
        variable = problem.get("ctx", {}).get("variable") or _variable(problem["loc"])
        reason = _reason(problem)
        found.setdefault(variable, f"{variable}: {reason}{_example(variable, fields)}")
    return found


def _variable(location: Iterable[Any]) -> str:
    name, *rest = location
    if name in {"rpc_urls", "facilitator_urls"} and rest:
        suffix = networks.BY_CAIP2[str(rest[0])].name.replace("-", "_")
        return f"{str(name).removesuffix('s')}_{suffix}".upper()
    return str(name).upper()


def _reason(problem: "ErrorDetails") -> str:
    if problem["type"] == "missing":
        return "missing"
    if problem["type"] == "too_short":  # for a SecretStr, whose characters pydantic calls items
        return f"must be at least {problem['ctx']['min_length']} characters"
    if problem["type"] == "string_pattern_mismatch":
        return "has the wrong form"
    return problem["msg"].removeprefix("Value error, ")


def _example(variable: str, fields: Mapping[str, FieldInfo]) -> str:
    field = fields.get(variable.lower())
    if field is None:
        return ""
    text = f"; {field.description}" if field.description else ""
    return f"{text} Example: {variable}={field.examples[0]}" if field.examples else text
