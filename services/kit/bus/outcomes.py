"""What can become of a record. A handler returns one outcome for each record of its batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.kit.bus.ports import Message, Record


@dataclass(frozen=True, slots=True)
class Done:
    """Worked; `outputs` (possibly none) are committed with the record's offset."""

    outputs: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class Poison:
    """Cannot be worked, now or later: the record goes to the dead-letter topic with this reason."""

    error: str
    reason: str


Outcome = Done | Poison

Handler = Callable[[Sequence[Record]], Sequence[Outcome]]
"""Works a batch; one outcome for each record, in order.

Raising `Unavailable` or `Overloaded` has the batch tried again with backoff, without end: the fault is around
us, not in the records. Any other exception has the records tried one by one, and each that still fails after
the attempts allowed is poison.
"""
