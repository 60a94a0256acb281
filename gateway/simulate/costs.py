"""What a person's actions take, and the effort that they add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.simulate import reading
from services.core.errors import InvalidInput

Action = Literal[
    "look",
    "key",
    "think",
    "home",
    "select",
    "first_click",
    "next_click",
    "box",
    "outline",
    "judge_mask",
    "judge_coverage",
    "judge_absent",
]
ACTIONS: tuple[Action, ...] = get_args(Action)
CLICKS: tuple[Action, ...] = ("first_click", "next_click")
"""The clicks that make masks."""


class Cost(BaseModel):
    """One action's time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(ge=0, allow_inf_nan=False, description="Seconds of the person's time.")
    meaning: str = Field(default="", description="What the action is.")
    source: str = Field(min_length=1, description="Where the number comes from.")


class Costs(BaseModel):
    """Every action's time. Read from a file, never fitted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    actions: Mapping[Action, Cost]

    def seconds(self, action: Action) -> float:
        """Seconds of one such action."""
        return self.actions[action].seconds


def read_costs(path: Path | None = None) -> Costs:
    """The costs of a TOML or JSON file, else of the bundled one. Raises `InvalidInput` naming the fault."""
    raw = reading.given(path) if path else reading.bundled("costs.toml")
    where = str(path or "costs.toml")
    if missing := [action for action in ACTIONS if action not in raw]:
        raise InvalidInput(f"{where} has no cost of {', '.join(missing)}")
    try:
        return Costs.model_validate({"actions": raw})
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors()[:3])
        raise InvalidInput(f"{where}: {wrong}") from None


class Effort:
    """The actions of a person on one task, and the seconds that they take."""

    def __init__(self, costs: Costs) -> None:
        self._costs = costs
        self.actions: Counter[Action] = Counter()
        self._on_negatives: Counter[Action] = Counter()

    def spend(self, action: Action, times: int = 1, *, on_negative: bool = False) -> None:
        """The action was done so often; `on_negative`: for the sake of a negative pair."""
        self.actions[action] += times
        if on_negative:
            self._on_negatives[action] += times

    @property
    def seconds(self) -> float:
        """All of it."""
        return self._sum(self.actions)

    @property
    def negative_seconds(self) -> float:
        """What was for the sake of negative pairs."""
        return self._sum(self._on_negatives)

    @property
    def clicks(self) -> int:
        """Clicks that make masks."""
        return sum(self.actions[action] for action in CLICKS)

    def _sum(self, actions: Mapping[Action, int]) -> float:
        return sum(self._costs.seconds(action) * times for action, times in actions.items())
