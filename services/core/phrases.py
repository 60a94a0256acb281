"""Noun phrases: one spelling for each, so that a pair is found again however its phrase was written.

Normalised means: Unicode NFKC, lower case, single spaces, without articles, possessives, determiners and
counts, the head noun in the singular: `The two Yellow School Buses` and `my yellow school bus` are `yellow
school bus`. Rules of form only, no parser: what plainly is no noun phrase (a sentence, a list, a pronoun, a
negation) is refused.
"""

from __future__ import annotations

import functools
import re
import threading
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.core.errors import InvalidInput
from services.core.nouns import DRINKING, EXCEPTIONS, INVARIANT

if TYPE_CHECKING:
    import inflect

_LOADING = threading.Lock()

MAX_CHARACTERS = 80
MAX_WORDS = 8
MAX_RAW_CHARACTERS = 400


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ARTICLES = frozenset({"a", "an", "the"})
_DETERMINERS = _ARTICLES | _words(
    """this that these those my your his her its our their some any each every all both several many few
    various multiple numerous certain another other one two three four five six seven eight nine ten eleven
    twelve dozens"""
)
_PREPOSITIONS = _words(
    """of in on with at by near under over behind beside besides between from for inside outside against
    around along through across into onto above below beneath underneath atop among towards toward upon
    within to"""
)
_TAKING = _words("wearing holding carrying riding pulling pushing eating drinking")
"""Participles that follow a noun and take another: `person riding horse`."""
_PLACED = _words("sitting standing lying leaning hanging made filled covered parked")
"""Participles that follow a noun when a preposition follows them (`car parked on street`), else precede
one.
"""
_SENTENCE = _words(
    """is are was were be been am has have had do does did can could will would shall should may might must
    isn't aren't there what where who whom whose why how when which"""
)
_PRONOUNS = _words(
    """i me you he him she it we us they them mine yours hers ours theirs myself itself themselves someone
    somebody something anyone anybody anything everyone everybody everything nobody nothing none"""
)
_NEGATIONS = frozenset({"no", "not", "never", "neither", "nor", "without"})
_COLOURS = _words(
    """red orange yellow green blue purple pink brown black white gray grey beige gold silver cyan
    turquoise"""
)
_QUANTITY = re.compile(r"^(?:pairs?|couples?|lots?|numbers?|dozens?|plenty|loads?) of (?=\S)")
_QUOTES = str.maketrans({"‘": "'", "’": "'", "ʼ": "'", "`": "'", "´": "'", "_": " "})
_DASHES = re.compile("[\u2010-\u2015\u2212]")
_EDGES = " .,;:!?\"'()[]{}*-“”«»"
_ALLOWED = re.compile(r"[^\W_]+(?:['&/.+-][^\W_]+)*'?", re.UNICODE)


@dataclass(frozen=True, slots=True)
class Parts:
    """A normalised phrase taken apart: `modifiers` before the head noun, `rest` after it (`in red shirt`)."""

    modifiers: tuple[str, ...]
    head: str
    rest: tuple[str, ...]


def normalise(text: str) -> str:
    """The phrase's one spelling. Idempotent. Raises `InvalidInput` for what is not a noun phrase or is too
    long.
    """
    if len(text) > MAX_RAW_CHARACTERS:
        raise InvalidInput(f"a phrase of {len(text)} characters; at most {MAX_CHARACTERS} are taken")
    before, after = text, _once(text)
    for _ in range(MAX_RAW_CHARACTERS):  # a round may uncover work for the next: `two of the buses' seats`
        if after == before:
            break
        before, after = after, _once(after)
    if len(after) > MAX_CHARACTERS or len(after.split()) > MAX_WORDS:
        raise InvalidInput(
            f"{_shown(text)} is too long: at most {MAX_WORDS} words and {MAX_CHARACTERS} characters are taken"
        )
    return after


def warm_up() -> None:
    """Load what the first `normalise` would wait for; for a thread at a process's start."""
    _engine()


def normalise_all(texts: Sequence[str]) -> list[str]:
    """The phrases' spellings without repeats, in order. Raises `InvalidInput` for the first that is none."""
    return list(dict.fromkeys(normalise(text) for text in texts))


def split(phrase: str) -> Parts:
    """The parts of a normalised phrase."""
    words = phrase.split()
    at = _head(words)
    return Parts(tuple(words[:at]), words[at], tuple(words[at + 1 :]))


def singular(noun: str) -> str:
    """The singular of one lower-case noun; a word that has none, or is one, as it is."""
    if noun in EXCEPTIONS:
        return EXCEPTIONS[noun]
    if noun in INVARIANT or len(noun) < 3 or not noun.isascii():
        return noun
    first, dash, last = noun.rpartition("-")
    if dash:
        return first + dash + singular(last)
    if not noun.isalpha() or noun.endswith(("ss", "us", "is")):
        return noun
    engine = _engine()
    found = engine.singular_noun(noun)
    if not found or len(found) < 2:
        return noun
    return str(found)


def _once(text: str) -> str:
    """One round of the rules."""
    spelled = unicodedata.normalize("NFKC", text).translate(_QUOTES)
    if any(unicodedata.category(c) in ("Cc", "Cs", "Co", "Cn") and not c.isspace() for c in spelled):
        raise InvalidInput(f"{_shown(text)} has control characters")
    spelled = " ".join(_DASHES.sub("-", spelled).lower().split()).strip(_EDGES)
    spelled = unicodedata.normalize("NFKC", spelled)
    if not spelled:
        raise InvalidInput("a phrase is empty; send a noun phrase such as `yellow school bus`")
    _refuse_other_than_words(text, spelled)
    words = _without_possessives(spelled.split())
    _refuse_sentences(text, words)
    while len(words) > 1 and (words[0] in _DETERMINERS or words[0].isdecimal()):
        words = words[1:]
    words = words[:1] + [word for word in words[1:] if word not in _ARTICLES]
    words = _QUANTITY.sub("", " ".join(words)).split()
    if words[0] in _DETERMINERS or words[0] in _PRONOUNS or words[0] in _PREPOSITIONS:
        raise InvalidInput(f"{_shown(text)} names no thing; send a noun phrase such as `yellow school bus`")
    if words[-1] in _PREPOSITIONS or words[-1] in _TAKING or words[-1] in _DETERMINERS:
        raise InvalidInput(f"{_shown(text)} is cut short; send a whole noun phrase")
    at = _head(words)
    words[at] = _singular_head(words, at)
    return " ".join(words)


def _refuse_other_than_words(text: str, spelled: str) -> None:
    if re.search(r"[,;]| / ", spelled):
        raise InvalidInput(f"{_shown(text)} is a list; send each phrase on its own")
    for word in spelled.split():
        if word != "&" and not _ALLOWED.fullmatch(word):
            raise InvalidInput(f"{_shown(text)} has signs in it; send words only")
        if "://" in word or word.startswith("www."):
            raise InvalidInput(f"{_shown(text)} is an address; send a noun phrase")
    if not any(c.isalpha() for c in spelled):
        raise InvalidInput(f"{_shown(text)} has no letters; send a noun phrase such as `yellow school bus`")


def _refuse_sentences(text: str, words: Sequence[str]) -> None:
    if any(word in _SENTENCE for word in words):
        raise InvalidInput(f"{_shown(text)} is a sentence or a question; send a noun phrase")
    if words[0] in _NEGATIONS or any(word in ("not", "never") for word in words):
        raise InvalidInput(f"{_shown(text)} is a negation; name what can be seen")
    for at, word in enumerate(words):
        if word in ("and", "or", "&"):
            joined = 0 < at < len(words) - 2 and words[at - 1] in _COLOURS and words[at + 1] in _COLOURS
            if not joined:  # `black and white cat` is one thing, `cat and dog` are two
                raise InvalidInput(f"{_shown(text)} names more than one thing; send each phrase on its own")


def _without_possessives(words: list[str]) -> list[str]:
    """What is owned: the owner and what describes the owner go (`the old man's hat` is a `hat`)."""
    for at in range(len(words) - 2, -1, -1):
        if words[at].endswith(("'s", "s'")) and words[at + 1] not in _PREPOSITIONS:
            return words[at + 1 :]
    return words


def _head(words: Sequence[str]) -> int:
    """Index of the head noun: the last word before what follows the noun (`of`, `in`, `wearing`, ...)."""
    last = len(words) - 1
    for at in range(1, len(words)):
        placed = words[at] in _PLACED and (at == last or words[at + 1] in _PREPOSITIONS)
        if placed or words[at] in _PREPOSITIONS or words[at] in _TAKING:
            return at - 1
    return last


def _singular_head(words: Sequence[str], at: int) -> str:
    noun = words[at]
    if noun == "glasses" and at > 0 and words[at - 1] in DRINKING:
        return "glass"
    return singular(noun)


def _shown(text: str) -> str:
    cut = text if len(text) <= 60 else text[:57] + "..."
    return f"the phrase {cut!r}"


@functools.cache
def _engine() -> inflect.engine:
    with _LOADING:
        return _unchecked_engine()


def _unchecked_engine() -> inflect.engine:
    """inflect's engine, without its checks of argument types; loaded late, since only some processes need it.

    For these checks typeguard rewrites inflect's methods as they are imported. That is nearly all of the
    second and a half that the import takes; and it goes through `ast`, of which CPython 3.11 counts the
    recursion for all threads together: what another thread parses meanwhile fails with a SystemError.
    """
    import typeguard

    checked = typeguard.typechecked
    vars(typeguard)["typechecked"] = lambda method: method
    try:
        import inflect
    finally:
        vars(typeguard)["typechecked"] = checked
    return inflect.engine()
