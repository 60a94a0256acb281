"""Where the dataset service keeps records in the object store."""

from __future__ import annotations


def annotation_key(tenant: str, job_id: str, image_id: str, name: str) -> str:
    """A record of annotations of a run: `name` as `domain.record_name` has it."""
    return f"{tenant}/annotations/{job_id}/{image_id}/{name}.pb"


def verdicts_key(tenant: str, job_id: str, image_id: str) -> str:
    """The pairs of a run as the models judged them, where some of them wait for people."""
    return f"{tenant}/verdicts/{job_id}/{image_id}.pb"
