"""What is kept of the last images."""

from __future__ import annotations

from services.networks.kept import Kept


def test_the_least_recently_used_goes_first() -> None:
    kept: Kept[int] = Kept(2)
    kept.put("a", 1)
    kept.put("b", 2)
    assert kept.get("a") == 1
    kept.put("c", 3)
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == (1, None, 3)
    kept.put("a", 4)
    kept.put("d", 5)
    assert (kept.get("a"), kept.get("c")) == (4, None)


def test_none_is_kept_where_none_is_wanted() -> None:
    kept: Kept[int] = Kept(0)
    kept.put("a", 1)
    assert kept.get("a") is None
