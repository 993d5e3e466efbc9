"""Parts of the OpenAPI document without a model: headers, parameters, the 402 answer."""

from typing import Any, Final

from pve402 import schemas
from pve402.hub import entries

DESCRIPTION: Final = (
    "Ask for a container, get a 402 with its price, pay with an x402 client (version 1 or 2), and "
    "get a running container. The management fee, or the lease's token, opens everything else."
)

REQUESTS: Final = (
    schemas.LeaseRequest,
    schemas.RenewRequest,
    *(schemas.SaveRequest, schemas.ForkRequest),
    schemas.LeaseQuoteRequest,
    schemas.RenewalQuoteRequest,
    schemas.ChallengeRequest,
    schemas.TokenRequest,
    schemas.ExecRequest,
    schemas.SignalRequest,
    schemas.InboundRequest,
    schemas.KeyRequest,
    schemas.PortRequest,
    schemas.PortLoginRequest,
    schemas.ChangeRequest,
    schemas.ReinstallRequest,
    schemas.SnapshotRequest,
    schemas.ConsoleRequest,
)


def _header(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string", **schema},
    }


def _in_path(name: str, description: str, pattern: str) -> dict[str, Any]:
    return {**_header(name, description, pattern=pattern), "in": "path", "required": True}


PAYMENT_HEADERS: Final = (
    _header("X-PAYMENT", "A payment in x402 version 1: base64 of JSON.", maxLength=16384),
    _header("PAYMENT-SIGNATURE", "A payment in x402 version 2: base64 of JSON.", maxLength=16384),
)
PURCHASE_HEADERS: Final = (
    _header(
        "Idempotency-Key",
        "At least 128 random bits. A request with the same key joins the first order, and its own "
        "payment is not taken.",
        minLength=22,
        maxLength=255,
    ),
    _header("Prefer", "With `respond-async` the answer is 202 at once, and the work goes on."),
)
WAIT: Final = _header(
    "Prefer", "With `wait=SECONDS`, at most 30, wait for addresses that the container gets itself."
)
_MODE: Final = {"type": "string", "pattern": "^0?[0-7]{3,4}$"}
_PATH: Final = {"type": "string", "minLength": 1, "maxLength": 4096}


def _query(
    name: str, description: str, schema: dict[str, Any], *, required: bool = False
) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": required,
        "description": description,
        "schema": schema,
    }


def _switch(name: str, description: str) -> dict[str, Any]:
    return _query(name, description, {"type": "boolean", "default": False})


_ENTRY_QUERIES: Final = {
    "entry": _query(
        "path",
        "Absolute path in the container; percent-encoded bytes, which need not be UTF-8.",
        _PATH,
        required=True,
    )
    | {"example": "/srv"},
    "to": _query("to", "The new path, in the same form.", _PATH, required=True)
    | {"example": "/srv/new"},
    "depth": _query(
        "depth",
        "Levels of folders to list or to watch.",
        {"type": "integer", "minimum": 1, "maximum": entries.DEEPEST, "default": 1},
    ),
    "limit": _query(
        "limit",
        "Most entries on a page; long names make it shorter.",
        {
            "type": "integer",
            "minimum": 1,
            "maximum": entries.LARGEST_PAGE,
            "default": entries.LARGEST_PAGE,
        },
    ),
    "after": _query("after", "`after` of the page before.", {"type": "string", "maxLength": 12288}),
    "folder_mode": _query("mode", "Octal permissions.", {**_MODE, "default": "0755"}),
    "new_mode": _query("mode", "Octal permissions; without it they stay.", _MODE),
    "owner": _query(
        "owner",
        "`USER`, `USER:GROUP` or `:GROUP`, as names of the container or numbers; without it the "
        "owner stays.",
        {"type": "string", "maxLength": 65},
    ),
    "parents": _switch(
        "parents", "`true` also makes the folders above it, and accepts a folder that is there."
    ),
    "recursive": _switch("recursive", "`true` also removes everything in a folder."),
    "replace": _switch("replace", "`true` replaces what is there, unless it is a folder."),
}
QUERIES: Final[dict[str, dict[str, Any]]] = {
    "snapshot": {
        "name": "snapshot",
        "in": "query",
        "required": False,
        "description": "Name of the snapshot that would be copied; without it, the container.",
        "schema": {"type": "string", "maxLength": 40},
        "example": "before-upgrade",
    },
    "all": {
        "name": "all",
        "in": "query",
        "required": False,
        "description": "`true` also lists leases that are over, up to the newest 5000.",
        "schema": {"type": "boolean", "default": False},
    },
    "fingerprint": {
        "name": "fingerprint",
        "in": "query",
        "required": True,
        "description": "Fingerprint of the key, `SHA256:` included, percent-encoded.",
        "schema": {"type": "string", "maxLength": 64},
        "example": "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
    },
    "port": {
        "name": "port",
        "in": "query",
        "required": True,
        "example": 8080,
        "schema": {"type": "integer", "minimum": 1, "maximum": 65535},
    },
    "close": {
        "name": "close",
        "in": "query",
        "required": False,
        "description": "`true` closes stdin after the body.",
        "schema": {"type": "boolean", "default": False},
    },
    "encoding": {
        "name": "encoding",
        "in": "query",
        "required": False,
        "description": "How output is encoded in JSON.",
        "schema": {"type": "string", "enum": ["utf-8", "base64"], "default": "utf-8"},
    },
    "path": {
        "name": "path",
        "in": "query",
        "required": True,
        "description": "Absolute path of a file in the container.",
        "schema": {"type": "string", "minLength": 2, "maxLength": 4096},
        "example": "/etc/hostname",
    },
    "folder": _query("path", "Absolute path of a folder in the container.", _PATH, required=True)
    | {"example": "/srv"},
    "format": _query(
        "format",
        "How it is packed.",
        {"type": "string", "enum": ["tar", "tar.gz"], "default": "tar"},
    ),
    "timeframe": _query(
        "timeframe",
        "How far back. Points are a minute, five minutes, half an hour or two hours long.",
        {"type": "string", "enum": ["hour", "day", "week", "month"], "default": "hour"},
    ),
    "mode": {
        "name": "mode",
        "in": "query",
        "required": False,
        "description": "Octal permissions of the file.",
        "schema": {"type": "string", "pattern": "^0?[0-7]{3,4}$", "default": "0644"},
    },
    **_ENTRY_QUERIES,
}
LAST_EVENT_ID: Final = _header(
    "Last-Event-ID",
    "Where to resume: the id of the last event received.",
    pattern="^e[0-9a-f]{24}:[0-9]{1,20}$",
)
CONTENT_DIGEST: Final = _header(
    "Content-Digest",
    "The body's SHA-256, in the form of RFC 9530.",
    pattern="^sha-256=:[A-Za-z0-9+/]{43}=:$",
)
CONDITIONS: Final = (
    _header("If-Match", "`*`, or the ETag that the file must have."),
    _header("If-None-Match", "`*` for no file yet, or the ETag that the file must not have."),
)
RANGES: Final = (
    _header("Range", "One range of bytes; several are answered with the whole file."),
    _header("If-Range", "The ETag that the file must have for the range; else all of it is sent."),
    _header("Want-Repr-Digest", "With any value a file of any size gets a checksum."),
)
BYTES_BODY: Final = {
    "required": True,
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}
_ARCHIVE: Final = {
    kind: {"schema": {"type": "string", "format": "binary"}}
    for kind in ("application/x-tar", "application/gzip")
}
ARCHIVE: Final[dict[str, Any]] = {"description": "The folder's content", "content": _ARCHIVE}


def _events(*kinds: str, data: str) -> dict[str, Any]:
    """A stream of events; OpenAPI 3.1 has no word for streams, so readers take one event."""
    fields = {
        "event": {"type": "string", "enum": list(kinds)},
        "id": {"type": "string", "description": "For `Last-Event-ID`, to go on from here."},
        "data": {"type": "string", "description": data},
    }
    schema = {"type": "object", "properties": fields, "required": ["event", "data"]}
    return {"text/event-stream": {"schema": {**schema, "description": "One event of many."}}}


EVENT_STREAM: Final = _events(
    *("start", "stdout", "stderr", "exit", "error"),
    data="Output as base64; of the others, facts as JSON.",
)
CHANGES: Final = _events(
    *("ready", "created", "changed", "removed", "overflow", "error"), data="Facts as JSON."
)
IN_PATHS: Final = {
    parameter["name"]: parameter
    for parameter in (
        _in_path("path", "Path on the server in the container; may contain slashes.", "^.*$"),
        _in_path("port", "A port of the container's loopback.", "^[1-9][0-9]{0,4}$"),
        _in_path("name", "The name of a snapshot.", "^[A-Za-z][A-Za-z0-9_-]{1,39}$"),
        _in_path("imageId", "As `GET /images/private` lists it.", "^l[0-9a-z]{25}$"),
        _in_path("execId", "The execId of a command.", "^e[0-9a-f]{24}$"),
        _in_path("owedId", "As `GET /owed` lists it.", "^w[0-9a-f]{30}$"),
        _in_path(
            "ctid",
            "A ctid, which means the lease that holds it now, or a leaseId.",
            "^([1-9][0-9]{2,8}|l[0-9a-z]{25})$",
        )
        | {"example": "10000"},
        _in_path(
            "token",
            "Of a link that works once; the service makes it.",
            r"^l[0-9a-z]{25}\.[A-Za-z0-9_-]{43}$",
        ),
    )
}
SECURITY_SCHEMES: Final = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "The accessToken of a lease, or a wallet's token from /auth/token.",
    },
    "wallet": {
        "type": "apiKey",
        "in": "header",
        "name": "SIGN-IN-WITH-X",
        "description": "What the 402 of this route offers to sign, signed; works once.",
    },
}


def _text_header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}


RECEIPTS: Final = {
    "PAYMENT-RESPONSE": _text_header("Receipt for a payment of version 2: base64 of JSON."),
    "X-PAYMENT-RESPONSE": _text_header("Receipt for a payment of version 1: base64 of JSON."),
}

_REFERENCE: Final = "#/components/schemas/"

_TERMS: Final = {
    "type": "object",
    "description": "One way to pay, in x402 version 1.",
    "required": ["scheme", "network", "maxAmountRequired", "payTo", "asset", "maxTimeoutSeconds"],
    "properties": {
        "scheme": {"type": "string", "const": "exact"},
        "network": {"type": "string"},
        "maxAmountRequired": {"type": "string", "pattern": "^[0-9]+$"},
        "resource": {"type": "string"},
        "description": {"type": "string"},
        "mimeType": {"type": "string"},
        "payTo": {"type": "string"},
        "maxTimeoutSeconds": {"type": "integer"},
        "asset": {"type": "string"},
        "extra": {"type": "object"},
    },
}

FILE_BYTES: Final[dict[str, Any]] = {
    "description": "The file",
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    "headers": {
        "ETag": _text_header(
            "SHA-256 of the file in quotes, unless it is too large to be read twice."
        ),
        "Repr-Digest": _text_header("The same checksum, in the form of RFC 9530."),
        "Pve402-File-Mode": _text_header("Octal permissions."),
    },
}

FILE_PART: Final[dict[str, Any]] = {
    **FILE_BYTES,
    "description": "A range of the file's bytes",
    "headers": {
        **FILE_BYTES["headers"],
        "Content-Range": _text_header("Which bytes of how many these are."),
    },
}

PORT_TOKEN: Final[dict[str, Any]] = {
    "name": "Pve402-Token",
    "in": "header",
    "required": True,
    "description": "A token with the scope `ports`; the server in the container does not get it.",
    "schema": {"type": "string", "maxLength": 256},
}

PORT_BYTES: Final[dict[str, Any]] = {
    "description": "Whatever the server in the container answers, with any status",
    "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
}

SCHEMAS: Final[dict[str, Any]] = {
    "PaymentTerms": _TERMS,
    "PaymentRequired": {
        "type": "object",
        "description": "The terms in x402 version 1; the header holds those of version 2.",
        "required": ["x402Version", "accepts", "error", "code", "detail"],
        "properties": {
            "x402Version": {"type": "integer", "enum": [1, 2]},
            "accepts": {"type": "array", "items": {"$ref": f"{_REFERENCE}PaymentTerms"}},
            "error": {"type": "string"},
            "code": {"type": "string"},
            "detail": {"type": "string"},
        },
    },
}

_ACCEPTS: Final = {
    "maxAmountRequired": "2640",
    "scheme": "exact",
    "network": "base-sepolia",
    "resource": "https://rent.example.com/lease/container",
    "description": "A container by the minute",
    "mimeType": "application/json",
    "payTo": "0x209693Bc6afc0C5328bA36FaF03C514EF312287C",
    "maxTimeoutSeconds": 600,
    "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
    "extra": {"name": "USDC", "version": "2"},
}

PAYMENT_REQUIRED: Final[dict[str, Any]] = {
    "description": "Payment required: the terms, or why the payment was not accepted",
    "headers": {"PAYMENT-REQUIRED": _text_header("Terms in x402 version 2: base64 of JSON.")},
    "content": {
        "application/json": {
            "schema": {"$ref": f"{_REFERENCE}PaymentRequired"},
            "example": {
                "x402Version": 1,
                "accepts": [_ACCEPTS],
                "error": "payment is required",
                "code": "payment_required",
                "detail": "payment is required",
            },
        }
    },
}


def request_body(model: type) -> dict[str, Any]:
    """Document a request body; a quote accepts either of two schemas."""
    schema: dict[str, Any] = {"$ref": f"{_REFERENCE}{model.__name__}"}
    if model is schemas.LeaseQuoteRequest:
        renewal = {"$ref": f"{_REFERENCE}{schemas.RenewalQuoteRequest.__name__}"}
        schema = {"anyOf": [schema, renewal]}
    return {"required": True, "content": {"application/json": {"schema": schema}}}
