"""Reads request bodies: limits their size, parses strict JSON, and validates the schema.

Any input gives either a value or one of the refusals below, never a 500.
"""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, NoReturn, TypeVar

import pydantic_core
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from pve402.domain import errors

MAX_BYTES: Final = 64 * 1024
MAX_CREATION_BYTES: Final = 384 * 1024  # what a new guest gets, with every letter escaped
LIMIT_SECONDS: Final = 10.0  # plus the time that the largest body takes at this rate
SLOWEST_BYTES_PER_SECOND: Final = 64 * 1024
MOST_READ_BYTES: Final = 2 * 1024 * 1024  # for any body that is read in one go

Model = TypeVar("Model", bound=BaseModel)


class BodyTooLarge(errors.Pve402Error):
    """The body is larger than the call allows, which is 65,536 bytes for most."""

    detail = "The body is larger than this call accepts; most accept 65,536 bytes."
    code = "body_too_large"


class BodyTooSlow(errors.Pve402Error):
    """The body did not arrive in time."""

    detail = "The request body did not arrive in time; nothing was charged."
    code = "body_too_slow"


class BodyNotJson(errors.InvalidRequest):
    """The body is not JSON."""

    detail = "The body is not JSON."
    code = "invalid_json"


class BodyInvalid(errors.InvalidRequest):
    """The body has missing or invalid fields."""

    detail = "Some fields of the body are missing or wrong."
    code = "invalid_body"

    def __init__(self, problems: list[dict[str, str]]) -> None:
        self.problems = problems
        first = problems[0]
        super().__init__(f"{first['field'] or 'the body'}: {first['message']}")


def _let_in() -> None:
    """Let every body be large."""


async def read(
    request: Request, most_bytes: int = MAX_BYTES, *, at_large: Callable[[], None] = _let_in
) -> bytes:
    """Return the body, stripped of blanks at both ends; empty if there is none.

    Calls `at_large` before it keeps more than MAX_BYTES. Raises BodyTooLarge, BodyTooSlow, and
    what `at_large` raises.
    """
    return (await read_bytes(request, most_bytes, at_large=at_large)).strip()


async def read_bytes(
    request: Request, most_bytes: int, *, at_large: Callable[[], None] = _let_in
) -> bytes:
    """Return the body as it is. Raises as `read`."""
    pieces, size, more = [], 0, True
    try:
        async with asyncio.timeout(LIMIT_SECONDS + most_bytes / SLOWEST_BYTES_PER_SECOND):
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise BodyNotJson("the connection was closed before the body was complete")
                pieces.append(message.get("body", b""))
                size += len(pieces[-1])
                if size > most_bytes:
                    raise BodyTooLarge(f"The body must be at most {most_bytes:,} bytes.")
                if size > MAX_BYTES:
                    at_large()
                more = message.get("more_body", False)
    except TimeoutError:
        raise BodyTooSlow from None
    return b"".join(pieces)


def parse(raw: bytes, model: type[Model]) -> Model:
    """Return the body as a schema. Raises BodyNotJson, BodyInvalid."""
    document = strict_json(raw)
    if not isinstance(document, dict):
        raise BodyInvalid([{"field": "", "message": "must be a JSON object"}])
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise BodyInvalid(_problems(error)) from None


def strict_json(raw: bytes) -> Any:
    """Parse the bytes as RFC 8259 JSON that has only one meaning.

    Refuses what parsers disagree about or fail on: NaN and Infinity, numbers too large for a
    float, duplicate keys, half surrogate pairs, and more than 200 levels of nesting.
    Raises BodyNotJson.
    """
    try:
        # Pydantic's parser goes first because it limits the depth: Python's own recurses up to the
        # process's limit, which some libraries raise so far that the stack overflows first.
        pydantic_core.from_json(raw, allow_inf_nan=False)
        document = _DECODER.decode(raw.decode("utf-8"))
    except ValueError:  # UnicodeDecodeError and huge integers are ValueErrors too
        raise BodyNotJson from None
    return document


def in_utc(moment: datetime | None, field: str) -> datetime | None:
    """Return a time of a body in UTC. Raises BodyInvalid if it names no time zone."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise BodyInvalid([{"field": field, "message": "must name its time zone"}])
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # in UTC it is before the year 1 or after 9999
        raise BodyInvalid([{"field": field, "message": "is outside the calendar"}]) from None


def check_size(field: str, value: Any, most_characters: int) -> None:
    """Raise BodyInvalid if a free-form field is longer as JSON than `most_characters`."""
    if value and len(json.dumps(value, ensure_ascii=False)) > most_characters:
        message = f"must be at most {most_characters} characters of JSON"
        raise BodyInvalid([{"field": field, "message": message}])


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number is too large")
    return number


def _no_constant(_name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _single_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key appears twice")
    return document


_DECODER = json.JSONDecoder(
    parse_float=_finite, parse_constant=_no_constant, object_pairs_hook=_single_keys
)


def _problems(error: ValidationError) -> list[dict[str, str]]:
    """Name each field and what is wrong with it, without repeating the input."""
    return [
        {
            "field": ".".join(str(part) for part in problem["loc"])[:120],
            "message": problem["msg"].removeprefix("Value error, ")[:200],
        }
        for problem in error.errors(include_url=False, include_input=False, include_context=False)[
            :16
        ]
    ]
