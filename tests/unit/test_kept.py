"""What is kept of what was used last."""

from __future__ import annotations

from services.core.kept import Kept


def test_the_least_recently_used_goes_first() -> None:
    kept: Kept[str, int] = Kept(2)
    kept.put("a", 1)
    kept.put("b", 2)
    assert kept.get("a") == 1
    kept.put("c", 3)
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == (1, None, 3)
    kept.put("a", 4)
    kept.put("d", 5)
    assert (kept.get("a"), kept.get("c")) == (4, None)


def test_none_is_kept_where_none_is_wanted() -> None:
    kept: Kept[str, int] = Kept(0)
    kept.put("a", 1)
    assert kept.get("a") is None


def test_values_may_weigh_differently() -> None:
    kept: Kept[str, bytes] = Kept(5, weigh=len)
    kept.put("a", b"aa")
    kept.put("b", b"bb")
    kept.put("too heavy", b"cccccc")
    assert (kept.get("a"), kept.get("b"), kept.get("too heavy")) == (b"aa", b"bb", None)
    kept.put("c", b"ccc")
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == (None, b"bb", b"ccc")
    kept.put("b", b"b")
    kept.put("d", b"d")
    assert (kept.get("b"), kept.get("c"), kept.get("d")) == (b"b", b"ccc", b"d")


def test_what_is_forgotten_weighs_nothing() -> None:
    kept: Kept[str, bytes] = Kept(4, weigh=len)
    kept.put("a", b"aaa")
    kept.forget("a")
    kept.forget("never there")
    kept.put("b", b"bbbb")
    assert (kept.get("a"), kept.get("b")) == (None, b"bbbb")
