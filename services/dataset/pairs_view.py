"""Pairs by job and phrases by tenant in Redis: a view of the log (see `lua/say.lua`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import redis

from services.core.errors import InvalidInput
from services.dataset import scripts
from services.dataset.pairs import Said

_LOOKED_AT: Final = 1000
"""Rows that one script call looks at: Redis serves nobody else meanwhile."""
_CALLS: Final = 100
"""Script calls of one page at most; then the page is short and the next one goes on."""
_COMMON: Final = 1000
"""Most used phrases that a prefix is looked for in, beside the index of words."""


@dataclass(frozen=True, slots=True)
class Row:
    """A pair of a job. `record`: where its content is. `code`: as `services.dataset.pairs` has them."""

    key: str
    phrase: str
    image_id: str
    slot: str
    record: str
    code: str
    waiting: bool


@dataclass(frozen=True, slots=True)
class Filters:
    """What rows must be like; empty or None: anything."""

    phrase: str = ""
    polarity: str = ""
    code: str = ""
    least: float | None = None
    largest: float | None = None
    model: str = ""
    annotator: str = ""


class PairView:
    """The rows. Thread-safe."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._scripts = scripts.register(client, "say", "scan")

    def say(self, said: Said) -> None:
        """What a record says of an image's pairs."""
        words = [part for pair in said.pairs for part in pair]
        head: list[str | int] = [
            said.job_id,
            said.image_id,
            said.record,
            said.rank,
            said.order,
            "1" if said.withdrawn else "",
        ]
        self._scripts["say"](keys=[scripts.prefix(said.tenant)], args=[*head, *words])

    def rows(
        self, tenant: str, job_id: str, filters: Filters, *, after: str, size: int
    ) -> tuple[list[Row], str]:
        """Rows that fit, at most `size`, in order of phrase and image; and where to go on, empty: the end.

        Raises `InvalidInput` for an `after` that is none of ours.
        """
        if after and after.count("\x1f") != 2:
            raise InvalidInput("the page token is not one of ours")
        bounds = ["" if at is None else f"{at:.6f}" for at in (filters.least, filters.largest)]
        found: list[Row] = []
        for _ in range(_CALLS):
            args: list[str | int] = [job_id, filters.phrase, after, size - len(found), _LOOKED_AT]
            args += [filters.polarity, filters.code, *bounds, filters.model, filters.annotator]
            answer = cast("list[bytes]", self._scripts["scan"](keys=[scripts.prefix(tenant)], args=args))
            after, *flat = (part.decode() for part in answer)
            found += [_row(key, value) for key, value in zip(flat[::2], flat[1::2], strict=True)]
            if not after or len(found) >= size:
                break
        return found, after

    def of_image(self, tenant: str, job_id: str, image_id: str) -> list[Row]:
        """The rows of one image, in order of phrase."""
        prefix = scripts.prefix(tenant)
        said = cast("list[bytes]", self._redis.hkeys(f"{prefix}said:{job_id}:{image_id}"))
        phrases = sorted(field[1:].decode() for field in said if field[:1] == b"p")
        pipeline = self._redis.pipeline(transaction=False)
        for phrase in phrases:
            start = f"{phrase}\x1f{image_id}\x1f"
            pipeline.zrangebylex(f"{prefix}gallery:{job_id}", f"[{start}", f"({start[:-1]} ")
        keys = [key.decode() for some in pipeline.execute() for key in some]
        if not keys:
            return []
        values = cast("list[bytes | None]", self._redis.hmget(f"{prefix}gallery_row:{job_id}", keys))
        return [_row(key, value.decode()) for key, value in zip(keys, values, strict=True) if value]

    def phrases(self, tenant: str, prefix: str, limit: int) -> list[tuple[str, int]]:
        """Phrases of which a word begins with the prefix, with how many pairs have them; most used first.

        Exact where at most 1000 phrases fit; of more, those among the tenant's 1000 most used come first.
        """
        keys = scripts.prefix(tenant)
        most = max(limit, _COMMON)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.zrevrange(f"{keys}phrases", 0, (most if prefix else limit) - 1, withscores=True)
        if prefix:
            pipeline.zrangebylex(f"{keys}words", f"[{prefix}", f"[{prefix}\xff", start=0, num=most)
        common, *indexed = pipeline.execute()
        found = {phrase: int(uses) for name, uses in common if begins(phrase := name.decode(), prefix)}
        if indexed:
            rest = dict.fromkeys(word.decode().split("\x1f")[1] for word in indexed[0])
            missing = [phrase for phrase in rest if phrase not in found]
            if missing:
                scores = self._redis.zmscore(f"{keys}phrases", missing)
                found |= {phrase: int(n) for phrase, n in zip(missing, scores, strict=True) if n}
        return sorted(found.items(), key=lambda item: (-item[1], item[0]))[:limit]


def begins(phrase: str, prefix: str) -> bool:
    """Whether the phrase, from one of its words on, begins with the prefix."""
    return phrase.startswith(prefix) or f" {prefix}" in phrase


def _row(key: str, value: str) -> Row:
    phrase, image_id, slot = key.split("\x1f")
    record, code, waiting, _ = value.split("\x1f", 3)
    return Row(key, phrase, image_id, slot, record, code, waiting == "1")


def records_of(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """(image id, record) of the rows, each once."""
    return list(dict.fromkeys((row.image_id, row.record) for row in rows))
