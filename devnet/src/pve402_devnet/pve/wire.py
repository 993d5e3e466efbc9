"""The HTTP side of the API: reads requests and writes answers (PVE::APIServer::AnyEvent)."""

import email.utils
import gzip
import json
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from pve402_devnet.pve import dispatch, errors, rest

SERVER = "pve-api-daemon/3.0"
JSON_TYPE = "application/json;charset=UTF-8"
MAX_POST_BYTES = 512 * 1024
MAX_HEADERS = 64
_LONGEST_NUMBER = 19
_SHOWN_OF_BAD_JSON = 20
_COMPRESS_ABOVE_BYTES = 1024
FORMATS = ("json", "extjs")

_BASE = re.compile(r"/api2/+([a-z][a-z0-9]+)(/.*)?")
_PERL_SOURCE = "at /usr/share/perl5/PVE/APIServer/AnyEvent.pm line 934."
_FORM = "application/x-www-form-urlencoded"


def split_path(path: str) -> tuple[str, str]:
    """Split a path into formatter and call; raises `errors.PlainError` if it is neither."""
    if not path.startswith("/api2"):
        raise errors.PlainError(500, f"no such file '{path}'\n")
    match = _BASE.fullmatch(path)
    if match is None:
        raise errors.PlainError(501, "no such uri")
    return match[1], match[2] or "/"


def require_format(name: str, path: str) -> None:
    """Raise `errors.PlainError` for a formatter that does not exist."""
    if name not in FORMATS:
        raise errors.PlainError(501, f"no formatter for uri {path}, {name}")


async def read_parameters(request: web.Request) -> dict[str, object]:
    """Read body and query; a parameter of the query replaces one of the body."""
    values: dict[str, object] = {}
    if request.headers.get("Content-Length", "0") != "0":
        values = _parse_body(request, await _read_body(request))
    values.update(parse_form(request.rel_url.raw_query_string))
    values.pop("_dc", None)
    return values


async def _read_body(request: web.Request) -> bytes:
    if request.method not in ("POST", "PUT"):
        raise errors.PlainError(501, f"Unexpected content for method '{request.method}'")
    kind = request.headers.get("Content-Type")
    if (request.content_length or 0) > MAX_POST_BYTES:
        raise errors.PlainError(501, "for data too large")
    if kind is not None and _media_type(kind) not in (_FORM, "application/json"):
        raise errors.PlainError(506, f"upload 'Content-Type '{kind}' not implemented")
    return await request.read()


def _parse_body(request: web.Request, body: bytes) -> dict[str, object]:
    if _media_type(request.headers.get("Content-Type", "")) != "application/json":
        return parse_form(body.decode("utf-8", "replace"))
    try:
        values = json.loads(body.decode("utf-8", "replace"), parse_int=_whole_number)
    except (ValueError, RecursionError):
        raise errors.PlainError(500, _json_problem(body.decode("utf-8", "replace"))) from None
    if not isinstance(values, dict):
        raise errors.PlainError(500, f"Not a HASH reference {_PERL_SOURCE}\n")
    return {_writable(name): _writable(value) for name, value in values.items()}


def _whole_number(text: str) -> int | str:
    """Keep numbers that are too long for any parameter as text, which their schema refuses."""
    return int(text) if len(text) <= _LONGEST_NUMBER else text


def _writable(value: Any) -> Any:
    """Replace lone surrogates, which JSON can express and UTF-8 cannot."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def parse_form(text: str) -> dict[str, object]:
    """Read form fields; a repeated one becomes a list."""
    values: dict[str, object] = {}
    for field in re.split("[&;]", text):
        if not field:
            continue
        name, *rest_of_field = (_unquote(part) for part in field.split("="))
        value: object = rest_of_field[0] if rest_of_field else None
        seen = values.get(name)
        if value is not None and seen is not None:
            value = [*seen, value] if isinstance(seen, list) else [seen, value]
        values[name] = value
    return values


def json_answer(result: rest.Json, name: str) -> web.StreamResponse:
    """Write a success."""
    reply = result if isinstance(result, rest.Reply) else rest.Reply(data=result)
    if reply.download is not None:
        disposition = f'attachment; filename="{reply.file_name}"'
        return _answer(
            200,
            "OK",
            reply.download,
            {"Content-Type": "text/plain", "Content-Disposition": disposition},
        )
    body: dict[str, object] = {"data": reply.data}
    if reply.total:
        body["total"] = reply.total
    if name == "extjs":
        body["success"] = 1
    return _answer(200, "OK", json.dumps(body), {"Content-Type": JSON_TYPE})


def error_answer(error: errors.ApiError, name: str) -> web.StreamResponse:
    """Write a failure; some have a JSON body, some a text, some none."""
    reason = error.message.split("\n", maxsplit=1)[0]
    if isinstance(error, errors.Unauthenticated):
        return _answer(error.status, reason, "", {})
    if isinstance(error, errors.PlainError):
        return _answer(error.status, reason, error.message, {})
    body: dict[str, object] = {"data": None, "message": error.message}
    if error.errors:
        body["errors"] = error.errors
    if name != "extjs":
        return _answer(error.status, reason, json.dumps(body), {"Content-Type": JSON_TYPE})
    body |= {"status": error.status, "success": 0}
    return _answer(200, "OK", json.dumps(body), {"Content-Type": JSON_TYPE})


def gateway_answer(answer: dispatch.Gateway) -> web.StreamResponse:
    """Write the proxy's answer for a daemon or node that it did not reach."""
    return _answer(answer.status, answer.reason, "", {})


def method_refused(method: str) -> web.StreamResponse:
    """Write the answer to HEAD, OPTIONS and the like."""
    return _answer(501, f"method '{method}' not available", "", {})


async def finish_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Give an answer exactly Proxmox's headers."""
    headers = response.headers
    if response.status == 101:
        for name in ("Date", "Server", "Content-Type"):
            headers.popall(name, None)
        headers["Connection"] = "upgrade"
        return
    if isinstance(response, _Answer):
        response.drop_unmeant_headers()
    now = email.utils.formatdate(usegmt=True)
    headers.update({"Date": now, "Expires": now, "Cache-Control": "max-age=0"})
    headers.update({"Pragma": "no-cache", "Server": SERVER})
    if response.status >= 400 or not request.keep_alive:
        response.force_close()
    headers["Connection"] = "Keep-Alive" if response.keep_alive else "close"


class _Answer(web.Response):
    """An answer that sends no type and no length if Proxmox sends none."""

    has_type = False
    has_body = False

    def compress_body(self) -> None:
        """Compress a body of more than one KiB."""
        if isinstance(self.body, bytes) and len(self.body) > _COMPRESS_ABOVE_BYTES:
            self.body = gzip.compress(self.body, mtime=0)
            self.headers["Content-Encoding"] = "gzip"

    def drop_unmeant_headers(self) -> None:
        """Remove headers that the server library added."""
        if not self.has_type:
            self.headers.popall("Content-Type", None)
        if not self.has_body:
            self.headers.popall("Content-Length", None)
            self.headers.popall("Transfer-Encoding", None)


def compressed(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Compress a long body for a client that can read it."""
    wanted = "gzip" in request.headers.get("Accept-Encoding", "")
    if isinstance(response, _Answer) and wanted:
        response.compress_body()
    return response


def _answer(status: int, reason: str, body: str, headers: Mapping[str, str]) -> web.Response:
    if "\r" in reason:  # would end the status line early
        status, reason, body = 400, "Bad Request", ""
    answer = _Answer(status=status, reason=reason, body=body.encode(), headers=dict(headers))
    answer.has_type = "Content-Type" in headers
    answer.has_body = bool(body)
    return answer


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _unquote(text: str) -> str:
    return urllib.parse.unquote_plus(text, errors="replace")


def _json_problem(text: str) -> str:
    """Return the message of Perl's JSON for the two most common mistakes."""
    offset = int(text.startswith("{"))
    shown = text[offset : offset + _SHOWN_OF_BAD_JSON]
    shown += "..." if len(text) - offset > _SHOWN_OF_BAD_JSON else ""
    problem = (
        "'\"' expected"
        if offset
        else "malformed JSON string, neither tag, array, object, number, string or atom"
    )
    where = f'at character offset {offset} (before "{shown}")'
    return f"{problem}, {where} {_PERL_SOURCE}\n"
