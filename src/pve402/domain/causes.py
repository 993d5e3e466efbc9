"""Why a connection failed, in words for people.

Network libraries wrap what the system said in classes of their own, whose names tell an operator
nothing. The cause is looked for through what an error was raised from.
"""

import os
import socket
import ssl
from collections.abc import Iterator

_MOST_WRAPPED = 8
_PLAIN_HTTP = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"})
"""How OpenSSL names the answer of a port that does not speak TLS."""


def reason(error: BaseException) -> str:
    """Say in a few words why a connection was not made, or broke."""
    for cause in _chain(error):
        words = _words(cause)
        if words:
            return words
    return f"the connection broke ({type(error).__name__})"


def certificate_fault(error: BaseException) -> str:
    """Say what is wrong with a certificate; empty if it is not about a certificate."""
    for cause in _chain(error):
        message = getattr(cause, "verify_message", "")
        if isinstance(cause, ssl.SSLCertVerificationError) and message:
            return message
    return ""


def speaks_no_tls(error: BaseException) -> bool:
    """Tell whether the other side answered TLS with something else, such as plain HTTP."""
    return any(
        isinstance(cause, ssl.SSLError) and getattr(cause, "reason", "") in _PLAIN_HTTP
        for cause in _chain(error)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it wraps, outermost first."""
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
    """Empty for a library's wrapper around the error, which has no words of its own."""
    fault = getattr(error, "verify_message", "")
    if fault:
        return f"the certificate is not trusted: {fault}"
    why: str = getattr(error, "reason", None) or ""
    if why in _PLAIN_HTTP:
        return "it does not speak TLS (https)"
    return f"TLS failed: {why.replace('_', ' ').lower()}" if why else ""
