"""Explains to people why a connection failed.

Network libraries wrap system errors in their own classes, whose names tell an operator nothing.
This follows the chain of causes down to the actual one.
"""

import os
import socket
import ssl
from collections.abc import Iterator

_MOST_WRAPPED = 8
_PLAIN_HTTP = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"})
"""What OpenSSL reports when a port does not speak TLS."""


def reason(error: BaseException) -> str:
    """Return a short reason why a connection could not be made, or broke."""
    for cause in _chain(error):
        words = _words(cause)
        if words:
            return words
    return f"the connection broke ({type(error).__name__})"


def certificate_fault(error: BaseException) -> str:
    """Return what is wrong with a certificate; empty if the error is not about one."""
    for cause in _chain(error):
        message = getattr(cause, "verify_message", "")
        if isinstance(cause, ssl.SSLCertVerificationError) and message:
            return message
    return ""


def speaks_no_tls(error: BaseException) -> bool:
    """Return whether the other side answered TLS with something else, such as plain HTTP."""
    return any(
        isinstance(cause, ssl.SSLError) and getattr(cause, "reason", "") in _PLAIN_HTTP
        for cause in _chain(error)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Return the error and the errors it wraps, outermost first."""
    found: BaseException | None = error
    for _ in range(_MOST_WRAPPED):
        if found is None:
            return
        yield found
        inner = getattr(found, "os_error", None) or getattr(found, "certificate_error", None)
        known = isinstance(inner, BaseException) and inner is not found
        found = inner if known else found.__cause__ or found.__context__


_KINDS: tuple[tuple[type[BaseException], str], ...] = (
    (TimeoutError, "no answer in time"),
    (socket.gaierror, "the host name is not known"),
    (ConnectionResetError, "the connection was closed without an answer"),
    (BrokenPipeError, "the connection was closed without an answer"),
)


def _words(error: BaseException) -> str:
    for kind, words in _KINDS:
        if isinstance(error, kind):
            return words
    if isinstance(error, ssl.SSLError):
        return _tls_words(error)
    if isinstance(error, OSError) and type(error.errno) is int and error.errno > 0:
        return os.strerror(error.errno).lower()
    return ""


def _tls_words(error: ssl.SSLError) -> str:
    """Return the error's own message; empty for a library's wrapper, which has none."""
    fault = getattr(error, "verify_message", "")
    if fault:
        return f"the certificate is not trusted: {fault}"
    why: str = getattr(error, "reason", None) or ""
    if why in _PLAIN_HTTP:
        return "it does not speak TLS (https)"
    return f"TLS failed: {why.replace('_', ' ').lower()}" if why else ""
