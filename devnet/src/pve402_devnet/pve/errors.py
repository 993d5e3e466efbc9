"""The ways a call to the simulated API fails, each knowing its HTTP status and its text.

ApiError
+-- Failure              500: nearly everything; also the end of a failed task
+-- ParameterErrors      400: a text for each bad parameter
+-- PermissionDenied     403
+-- CallUnknown          501: no such path, or no such method on it
+-- LoginRefused         401 with a JSON body, answered late
+-- Unauthenticated      401 without a body, answered late
+-- PlainError           any status, the text as the body, no content type
"""


class ApiError(Exception):
    """An answer other than 200. `message` is what the body's `message` holds."""

    def __init__(self, status: int, message: str, errors: dict[str, str] | None = None) -> None:
        super().__init__(message.rstrip("\n"))
        self.status = status
        self.message = message
        self.errors = errors or {}

    @property
    def text(self) -> str:
        """The message without its line end, as a task log shows it."""
        return self.message.rstrip("\n")


class Failure(ApiError):
    """A call or a task that ended with a text."""

    def __init__(self, text: str, errors: dict[str, str] | None = None) -> None:
        super().__init__(500, text + "\n", errors)


class ParameterErrors(ApiError):
    """One or more parameters were refused."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__(400, "Parameter verification failed.\n", errors)


class PermissionDenied(ApiError):
    """The caller lacks a privilege; `what` names it where Proxmox does."""

    def __init__(self, what: str = "") -> None:
        detail = f" ({what})" if what else ""
        super().__init__(403, f"Permission check failed{detail}\n")


class CallUnknown(ApiError):
    """No method of that name is registered for the path."""

    def __init__(self, method: str, path: str) -> None:
        super().__init__(501, f"Method '{method} {path}' not implemented")


class LoginRefused(ApiError):
    """A login or a ticket was wrong. The answer is delayed."""

    def __init__(self, text: str) -> None:
        super().__init__(401, text + "\n")


class Unauthenticated(ApiError):
    """The request has no valid credentials. No body; the answer is delayed."""

    def __init__(self, text: str) -> None:
        super().__init__(401, text + "\n")


class PlainError(ApiError):
    """Refused before the API was reached: the text is the body."""
