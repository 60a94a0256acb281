"""What can go wrong, in the words of the domain.

Errors carry no transport codes: `services.kit.rpc.errors` maps them to gRPC statuses and `gateway.errors` to
HTTP ones, each in one table. The message is for the person who gets it: what is wrong and what to do.
"""

from __future__ import annotations


class TercetError(Exception):
    """Base of every error that Tercet raises on purpose."""


class InvalidInput(TercetError):
    """The request or record itself is wrong; repeating it unchanged cannot succeed."""


class InvalidImage(InvalidInput):
    """The image cannot be read or is of no accepted kind. `code` is machine-readable, e.g. `truncated`."""

    def __init__(self, message: str, *, code: str = "invalid_image") -> None:
        super().__init__(message)
        self.code = code


class Unauthenticated(TercetError):
    """No key, or one that is not known."""


class Forbidden(TercetError):
    """The key is known, and its role may not do this."""


class NotFound(TercetError):
    """No such thing for this tenant; the same answer for a foreign id as for an unknown one."""


class AlreadyDecided(TercetError):
    """Another decision on the task came first."""


class Conflict(TercetError):
    """The request contradicts an earlier one, e.g. an Idempotency-Key used with another body."""


class LeaseLost(TercetError):
    """The lease ended or belongs to someone else."""


class TooLarge(InvalidInput):
    """A body, an image or a batch passes a limit; the message names it."""


class Overloaded(TercetError):
    """Refused for now; `retry_after` seconds later it may succeed."""

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(TercetError):
    """A part that is needed does not answer; transient: the same call may succeed later."""


class DeadlineExceeded(Unavailable):
    """A part that is needed did not answer in time."""


class Internal(TercetError):
    """A broken promise inside Tercet."""
