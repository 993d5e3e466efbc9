"""JSON-RPC 2.0 without sockets: request bytes in, response bytes out; batches and size limits."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pydantic_core

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
SERVER_ERROR = -32000
LIMIT_EXCEEDED = -32005
EXECUTION_REVERTED = 3

MAX_REQUEST_BYTES = 1024 * 1024
MAX_BATCH = 500

Method = Callable[[list[Any]], Any]


class RpcError(Exception):
    """An error response; `data` is, for example, a contract's revert data."""

    def __init__(self, *, code: int, message: str, data: str | None = None) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.data = data

    def as_json(self) -> dict[str, Any]:
        """Return the `error` member of the response."""
        answer: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.data is not None:
            answer["data"] = self.data
        return answer


def invalid_params(message: str) -> RpcError:
    """The caller's parameters are invalid."""
    return RpcError(code=INVALID_PARAMS, message=message)


class Dispatcher:
    """Calls the method of each request and wraps the result."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self._methods = methods

    def call(self, method: str, params: list[Any]) -> Any:
        """Call one method.

        Raises:
            RpcError: unknown method, bad parameters, or the method's own refusal.
        """
        known = self._methods.get(method)
        if known is None:
            text = f"the method {method[:64]} does not exist/is not available"
            raise RpcError(code=METHOD_NOT_FOUND, message=text)
        return known(params)

    def handle(self, body: bytes) -> bytes | None:
        """Answer one request or batch; None if no response is due (notifications)."""
        if len(body) > MAX_REQUEST_BYTES:
            return _encode(_failure(None, INVALID_REQUEST, "request too large"))
        try:
            # Not json.loads: Ethereum libraries raise the recursion limit of the whole process so
            # far that deeply nested brackets end it. This parser has a limit of its own.
            question = pydantic_core.from_json(body, allow_inf_nan=False)
        except ValueError:
            return _encode(_failure(None, PARSE_ERROR, "parse error"))
        if not isinstance(question, list):
            return _encode(self._answer(question))
        if not question:
            return _encode(_failure(None, INVALID_REQUEST, "empty batch"))
        if len(question) > MAX_BATCH:
            return _encode(_failure(None, INVALID_REQUEST, "batch too large"))
        answers = [answer for item in question if (answer := self._answer(item)) is not None]
        return _encode(answers) if answers else None

    def _answer(self, question: Any) -> dict[str, Any] | None:
        if not _is_request(question):
            identity = question.get("id") if isinstance(question, dict) else None
            return _failure(identity, INVALID_REQUEST, "invalid request")
        identity = question.get("id")
        try:
            result = self.call(question["method"], question.get("params") or [])
            answer = {"jsonrpc": "2.0", "id": identity, "result": result}
        except RpcError as error:
            answer = {"jsonrpc": "2.0", "id": identity, "error": error.as_json()}
        return answer if "id" in question else None


def _is_request(question: Any) -> bool:
    return (
        isinstance(question, dict)
        and isinstance(question.get("method"), str)
        and isinstance(question.get("params", []), list | None)
        and isinstance(question.get("id"), str | int | float | None)
    )


def _failure(identity: Any, code: int, message: str) -> dict[str, Any]:
    identity = identity if isinstance(identity, str | int | float) else None
    return {"jsonrpc": "2.0", "id": identity, "error": {"code": code, "message": message}}


def _encode(answer: Any) -> bytes | None:
    return None if answer is None else json.dumps(answer, separators=(",", ":")).encode()
