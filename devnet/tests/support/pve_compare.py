"""Holds an answer of the simulator against a recorded one: what must be equal, what alike."""

import re
from collections.abc import Iterator
from typing import Any

_NORMAL_FORMS = (
    (re.compile(r"UPID:(\w+):[0-9A-F]{8}:[0-9A-F]{8}:[0-9A-F]{8}:"), r"UPID:\1:<times>:"),
    (re.compile(r"\b[0-9a-f]{40}\b"), "<digest>"),
    (re.compile(r"\bsha256:[0-9a-f]{64}\b"), "<blob>"),
    (re.compile(r"\.tar\.tmp\.\d+"), ".tar.tmp.<n>"),
    (re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"), "<uuid>"),
    (re.compile(r"\b[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){31}\b"), "<fingerprint>"),
    (re.compile(r"\b(?i:bc:24:11)(?::[0-9A-Fa-f]{2}){3}"), "<mac>"),
    (re.compile(r"fe80::[0-9a-f:]+"), "<link-local>"),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:<port>"),
    (re.compile(r"termproxy \d+"), "termproxy <port>"),
    (re.compile(r"/dev/loop\d+"), "/dev/loop<n>"),
    (re.compile(r"\d+MiB/s"), "<speed>"),
    (re.compile(r"\d+/(\d+) files \([\d.]+% non-contiguous\), \d+/(\d+) blocks"), r"<\1, \2>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "<time>"),
)
_VOLATILE_NUMBERS = frozenset(
    {
        *("avail", "available", "free", "used", "used_fraction", "size"),
        *("cpu", "idle", "wait", "mem", "memhost", "swap", "disk", "maxdisk"),
        *("diskread", "diskwrite", "netin", "netout", "pid", "pstart"),
        *("ctime", "endtime", "localtime", "snaptime", "starttime", "time", "uptime"),
    }
)
_VOLATILE_TEXTS = frozenset(["CSRFPreventionToken", "ticket", "cert", "password", "port"])
_COMMA_SETS = frozenset(["content"])
_IDENTITIES = ("upid", "volid", "id", "vmid", "key", "name", "subdir", "iface", "realm", "n")
_STANDARD_HEADERS = ("Cache-Control", "Pragma", "Server", "Connection", "Upgrade")
_PRESENT_HEADERS = ("Date", "Expires", "Content-Length", "Content-Disposition", "Location")


def normal(text: str) -> str:
    """Replace what differs between two runs by a word."""
    for pattern, replacement in _NORMAL_FORMS:
        text = pattern.sub(replacement, text)
    return text


def status_line_differences(recorded: dict[str, Any], answer: Any) -> Iterator[str]:
    """Compare status and reason."""
    if recorded["status"] != answer.status:
        yield f"status {answer.status}, recorded {recorded['status']}"
    if recorded["reason"] is None and answer.reason in (None, ""):
        return
    if normal(recorded["reason"] or "") != normal(answer.reason or ""):
        yield f"reason {answer.reason!r}, recorded {recorded['reason']!r}"


def header_differences(recorded: dict[str, Any], answer: Any) -> Iterator[str]:
    """Compare the content type, the fixed headers, and which others are there at all."""
    theirs, ours = recorded["headers"] or {}, answer.headers
    if recorded["content_type"] != ours.get("Content-Type"):
        yield f"content type {ours.get('Content-Type')!r}, recorded {recorded['content_type']!r}"
    for name in _STANDARD_HEADERS:
        if theirs.get(name) != ours.get(name):
            yield f"{name}: {ours.get(name)!r}, recorded {theirs.get(name)!r}"
    for name in _PRESENT_HEADERS:
        if (name in theirs) != (name in ours):
            yield f"{name} {'missing' if name in theirs else 'unrecorded'}"


def body_differences(recorded: Any, ours: Any, path: str = "") -> Iterator[str]:
    """Compare bodies: keys and types always, values where they do not vary by nature."""
    if kind(recorded) != kind(ours):
        yield f"{path}: {kind(ours)} {ours!r}, recorded {kind(recorded)} {recorded!r}"
    elif isinstance(recorded, dict):
        yield from _object_differences(recorded, ours, path)
    elif isinstance(recorded, list):
        yield from _list_differences(recorded, ours, path)
    elif not _same_value(recorded, ours, path.rpartition(".")[2]):
        yield f"{path}: {ours!r}, recorded {recorded!r}"


def shape(value: Any) -> Any:
    """What remains of a value without its values: keys and types."""
    if isinstance(value, dict):
        return tuple(sorted((key, shape(item)) for key, item in value.items()))
    if isinstance(value, list):
        return ("list", tuple(sorted({shape(item) for item in value}, key=repr)))
    return kind(value)


def log_differences(recorded: list[str], ours: list[str]) -> Iterator[str]:
    """Compare task logs line by line."""
    theirs = [normal(line) for line in recorded]
    found = [normal(line) for line in ours]
    for number in range(max(len(theirs), len(found))):
        expected = theirs[number] if number < len(theirs) else "<end>"
        actual = found[number] if number < len(found) else "<end>"
        if expected != actual:
            yield f"log line {number + 1}: {actual!r}, recorded {expected!r}"


def kind(value: Any) -> str:
    """The JSON type of a value; whole and broken numbers are one type."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return {dict: "object", list: "array", str: "text", type(None): "null"}[type(value)]


def _object_differences(recorded: dict[str, Any], ours: dict[str, Any], path: str) -> Iterator[str]:
    for key in sorted(recorded.keys() - ours.keys()):
        yield f"{path}.{key} missing, recorded {recorded[key]!r}"
    for key in sorted(ours.keys() - recorded.keys()):
        yield f"{path}.{key} unrecorded: {ours[key]!r}"
    for key in sorted(recorded.keys() & ours.keys()):
        yield from body_differences(recorded[key], ours[key], f"{path}.{key}")


def _list_differences(recorded: list[Any], ours: list[Any], path: str) -> Iterator[str]:
    for identity in _IDENTITIES:
        theirs, found = _by_identity(recorded, identity), _by_identity(ours, identity)
        if theirs is not None and found is not None and theirs.keys() == found.keys():
            for key, item in theirs.items():
                yield from body_differences(item, found[key], f"{path}[{key}]")
            return
    for missing in {shape(i) for i in recorded} - {shape(i) for i in ours}:
        yield f"{path}: nothing like {missing}"
    for unknown in {shape(i) for i in ours} - {shape(i) for i in recorded}:
        yield f"{path}: nothing recorded like {unknown}"


def _by_identity(items: list[Any], identity: str) -> dict[str, Any] | None:
    if not all(isinstance(item, dict) and identity in item for item in items):
        return None
    found = {normal(str(item[identity])): item for item in items}
    return found if len(found) == len(items) else None


def _same_value(recorded: Any, ours: Any, key: str) -> bool:
    if isinstance(recorded, str) and isinstance(ours, str):
        if key in _VOLATILE_TEXTS or recorded.startswith("<"):
            return bool(ours)
        if key in _COMMA_SETS:
            return set(recorded.split(",")) == set(ours.split(","))
        return normal(recorded) == normal(ours)
    return key in _VOLATILE_NUMBERS or recorded == ours
