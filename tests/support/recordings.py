"""Exchanges recorded on Proxmox VE 9.2, read from tests/data/recordings."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).parent.parent / "data" / "recordings"
API_ROOT = "/api2/json"


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One recorded exchange; `path` starts behind the root of the API."""

    name: str
    method: str
    path: str
    params: dict[str, Any]
    auth: str
    status: int | None
    reason: str
    headers: dict[str, str]
    body: Any
    task: dict[str, Any] | None

    @property
    def raw_body(self) -> bytes:
        """The body's bytes, up to the order of keys."""
        if self.body is None:
            return b""
        text = self.body if isinstance(self.body, str) else json.dumps(self.body)
        return text.encode()

    @property
    def message(self) -> str:
        """The refusal's text, in the body or else in the reason phrase."""
        text = self.body.get("message") if isinstance(self.body, dict) else None
        return (text or self.reason).strip()

    @property
    def data(self) -> Any:
        """The data of a successful answer."""
        return self.body["data"]


@cache
def load(file: str = "recordings.jsonl") -> tuple[Recording, ...]:
    """Every exchange recorded in a file that was sent to a path of the API."""
    lines = (DIRECTORY / file).read_text(encoding="utf-8").splitlines()
    documents = [json.loads(line) for line in lines]
    return tuple(
        _recording(document)
        for document in documents
        if document["request"]["path"].startswith(API_ROOT + "/")
    )


def _recording(document: dict[str, Any]) -> Recording:
    request, response = document["request"], document["response"]
    return Recording(
        name=document["name"],
        method=request["method"],
        path=request["path"].removeprefix(API_ROOT),
        params=dict(request["params"] or {}),
        auth=request["auth"],
        status=response["status"],
        reason=response["reason"] or "",
        headers=response["headers"],
        body=response["body"],
        task=document.get("task"),
    )
