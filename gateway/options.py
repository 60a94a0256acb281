"""What a job asks for, from whatever form it came in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from pydantic import ValidationError

from gateway.errors import MalformedBody, WrongFields, wrong_fields
from gateway.schemas import FieldError, JobOptions, JobRequest
from services.core import phrases
from services.core.errors import InvalidInput

JOB_FIELD: Final = "job"
_LISTS: Final = frozenset({"phrases"})
_THRESHOLDS: Final = frozenset({"accept_above", "reject_below"})
# draft-ietf-httpapi-idempotency-key-header: a structured-field string; without its quotes it is taken too.
_IDEMPOTENCY_KEY: Final = re.compile(r'"?([!#-~][ !#-~]{0,253})"?\Z')


def idempotency_key(header: str | None) -> str:
    """The Idempotency-Key of a request; empty without one. Raises `InvalidInput` for a malformed one."""
    if header is None:
        return ""
    found = _IDEMPOTENCY_KEY.match(header.strip())
    if not found:
        raise InvalidInput("Idempotency-Key must be 1 to 254 printable ASCII characters without quotes")
    return found.group(1)


def options_of(fields: Iterable[tuple[str, str]]) -> JobOptions:
    """A job's options from form fields or query parameters: one `job` of JSON, or one field for each option.

    `phrases` may come more than once; `accept_above` and `reject_below` stand for the thresholds. Raises
    `MalformedBody` and `WrongFields`.
    """
    single: dict[str, Any] = {}
    job: str | None = None
    for name, value in fields:
        if name == JOB_FIELD:
            if job is not None:
                raise WrongFields("more than one `job`", [FieldError(field=JOB_FIELD, detail="Given twice")])
            job = value
        elif name in _LISTS:
            single.setdefault(name, []).append(value)
        elif name in _THRESHOLDS:
            single.setdefault("thresholds", {})[name] = value
        elif name not in JobOptions.model_fields or name == "thresholds":
            raise unknown_field(name)
        elif name in single:
            raise WrongFields(f"more than one `{name}`", [FieldError(field=name, detail="Given twice")])
        else:
            single[name] = value
    if job is not None and single:
        raise WrongFields(
            "give the options in `job` or as fields of their own, not both",
            [FieldError(field=name, detail="Given beside `job`") for name in single],
        )
    try:
        options = JobOptions.model_validate(single) if job is None else JobOptions.model_validate_json(job)
    except ValidationError as error:
        raised = error.errors(include_url=False, include_context=False)
        if any(item["type"] == "json_invalid" for item in raised):
            raise MalformedBody("the part `job` is no valid JSON") from error
        raise wrong_fields(raised, within=JOB_FIELD if job is not None else "") from error
    _check_phrases(options, within=f"{JOB_FIELD}." if job is not None else "")
    return options


def job_request(body: bytes) -> JobRequest:
    """A JSON body. Raises `MalformedBody` and `WrongFields`."""
    try:
        asked = JobRequest.model_validate_json(body)
    except ValidationError as error:
        raised = error.errors(include_url=False, include_context=False)
        if any(item["type"] == "json_invalid" for item in raised):
            raise MalformedBody(f"the body is no valid JSON: {raised[0]['msg']}") from error
        raise wrong_fields(raised) from error
    _check_phrases(asked)
    return asked


def _check_phrases(options: JobOptions, *, within: str = "") -> None:
    """Here, not by the schema, which the client has too: the words of English are the services'. Raises
    `WrongFields` for phrases of which the proposer would fail every image.
    """
    wrong = []
    for number, phrase in enumerate(options.phrases):
        try:
            phrases.normalise(phrase)
        except InvalidInput as error:
            wrong.append(FieldError(field=f"{within}phrases.{number}", detail=str(error)))
    if wrong:
        raise WrongFields(f"{wrong[0].field}: {wrong[0].detail}", wrong)


def unknown_field(name: str) -> WrongFields:
    """What to raise for an option that there is not."""
    return WrongFields(f"there is no option `{name}`", [FieldError(field=name, detail="Unknown field")])
