"""Who made a thing, and when."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from services.kit.clock import Clock
from tercet.v1 import concepts_pb2


def made_by(model: concepts_pb2.ModelVersion, clock: Clock) -> concepts_pb2.Provenance:
    """Made by the model, now."""
    return concepts_pb2.Provenance(model=model, made_at=timestamp(clock.now()))


def joined(*models: concepts_pb2.ModelVersion) -> concepts_pb2.ModelVersion:
    """The version of what several models made together, in the order of work: `concept_grounder+sam`."""
    return concepts_pb2.ModelVersion(
        name="+".join(model.name for model in models),
        weights="+".join(model.weights for model in models),
        version="+".join(model.version for model in models),
    )


def timestamp(seconds: float) -> Timestamp:
    """The time of seconds since the epoch, to the microsecond."""
    found = Timestamp()
    found.FromMicroseconds(round(seconds * 1e6))
    return found
