"""What a call of the client can raise. Every message says what is wrong and, where known, what to do."""

from __future__ import annotations

from collections.abc import Mapping
from http.client import responses

from pydantic import ValidationError

from gateway.schemas import Problem

SHOWN_REFUSALS = 5
"""So many refused images are named in a message; the problem has them all."""


class ClientError(Exception):
    """Base of everything that the client raises on purpose."""


class NothingToSubmit(ClientError):
    """The folder, list or archive holds no image."""


class UnreadableSource(ClientError):
    """A file that was to be sent cannot be read, or changed while it was being sent."""


class UnusableKey(ClientError):
    """The API key cannot be one: it has blanks, line ends or letters that no header can carry."""


class Unreachable(ClientError):
    """No gateway answers at the URL, or the connection broke more often than it is worth trying."""

    def __init__(self, url: str, cause: Exception) -> None:
        reason = str(cause) or type(cause).__name__
        super().__init__(
            f"no gateway answers at {url} ({reason}). Start one with `make run` (one process) or `make up` "
            "(the stack), or set TERCET_URL to where it is."
        )
        self.url = url


class CorruptDownload(ClientError):
    """The bytes that arrived are not the ones that were promised (SHA-256, or size); nothing was written."""


class Unexpected(ClientError):
    """No gateway of this version answers so: an older one, or something else at that URL."""


class WaitExpired(ClientError):
    """The job was not done in the time given to `wait`; it goes on."""


class ApiError(ClientError):
    """The gateway refused or failed; `problem` is its answer. Subclasses tell the kinds apart."""

    advice = ""
    """What to do, where the kind alone tells."""

    def __init__(self, problem: Problem, retry_after: float | None = None) -> None:
        self.problem = problem
        self.retry_after = retry_after
        """Seconds after which the gateway says it may succeed."""
        super().__init__(_sentence(problem, retry_after, self.advice))

    @property
    def status(self) -> int:
        """HTTP status."""
        return self.problem.status

    @property
    def code(self) -> str:
        """Machine-readable name of the problem."""
        return self.problem.code

    @property
    def title(self) -> str:
        """What kind of problem it is, for a person."""
        return self.problem.title

    @property
    def detail(self) -> str:
        """What is wrong this time, for a person."""
        return self.problem.detail

    @property
    def request_id(self) -> str | None:
        """To find the request in the gateway's log."""
        return self.problem.request_id or None


class InvalidRequest(ApiError):
    """400, 422 and other 4xx: the request itself is wrong; unchanged, it cannot succeed."""


class Unauthenticated(ApiError):
    """401: no key, or an unknown or revoked one."""

    advice = (
        "Set TERCET_API_KEY, or TERCET_KEY_FILE to the local gateway's key: .tercet/api-key of `make up`, "
        ".tercet/embedded/api-key of `make run`"
    )


class Forbidden(ApiError):
    """403: the key's role may not do this."""


class NotFound(ApiError):
    """404: no such thing, or none of this tenant's."""


class Conflict(ApiError):
    """409: it contradicts an earlier request, or the state does not allow it."""


class AlreadyDecided(Conflict):
    """409: another decision on the task came first; take the next task."""


class LeaseLost(ApiError):
    """412: the lease on a task has ended; `detail` says what became of it. Keep the work and lease again."""


class TooLarge(ApiError):
    """413: the body, an image or the number of images passes a limit of the gateway."""

    advice = "Submit the images in smaller parts, one job each, or have the gateway's limit raised"


class UnsupportedMedia(ApiError):
    """415: the gateway takes no files of that kind."""


class Overloaded(ApiError):
    """429 or 503, still so after all tries."""


class ServerFailure(ApiError):
    """Any other 5xx: the gateway, or a part behind it, failed."""


RETRIED = frozenset({429, 502, 503, 504})
"""What may be different the next time."""

IN_FLIGHT = "idempotency_key_in_flight"
"""Code of the 409 for a repeat whose first request the gateway is still working on."""

_BY_STATUS: Mapping[int, type[ApiError]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: LeaseLost,
    413: TooLarge,
    415: UnsupportedMedia,
    429: Overloaded,
    503: Overloaded,
}

_BY_CODE: Mapping[str, type[ApiError]] = {"already_decided": AlreadyDecided}
"""Kinds that share their status with others."""


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """The exception for an answer of `status` >= 400, whatever its body: a problem, text or nothing."""
    problem = _problem(status, headers, body)
    kind = _BY_STATUS.get(status, InvalidRequest if status < 500 else ServerFailure)
    return _BY_CODE.get(problem.code, kind)(problem, retry_after(headers))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds asked for by Retry-After; None where it is absent or a date (no gateway of ours sends one)."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None


def _problem(status: int, headers: Mapping[str, str], body: bytes) -> Problem:
    """The gateway's problem; of another server's answer (a proxy's, say) what can be told from it."""
    try:
        return Problem.model_validate_json(body)
    except ValidationError:
        text = body[:300].decode("utf-8", "replace").strip()
        return Problem(
            type="about:blank",
            title=responses.get(status, ""),
            status=status,
            detail="" if text.startswith("<") else text,
            code=f"http_{status}",
            instance="",
            request_id=headers.get("x-request-id", ""),
        )


def _sentence(problem: Problem, retry: float | None, advice: str) -> str:
    said = problem.detail or problem.title or "the gateway said no more"
    wrong = [f"{error.field}: {error.detail}" for error in problem.errors]
    wrong += [f"{image.name}: {image.reason}" for image in problem.refused[:SHOWN_REFUSALS]]
    wrong = [line for line in wrong if line not in said]  # the detail may tell the first one itself
    if len(problem.refused) > SHOWN_REFUSALS:
        wrong.append(f"and {len(problem.refused) - SHOWN_REFUSALS} more")
    if wrong:
        said = f"{said.rstrip('.:')}: {'; '.join(wrong)}"
    said += f" (HTTP {problem.status}, {problem.code}" + (
        f", request {problem.request_id})" if problem.request_id else ")"
    )
    if retry is not None:
        advice = f"Try again in {retry:g} s"
    return f"{said}. {advice}" if advice else said
