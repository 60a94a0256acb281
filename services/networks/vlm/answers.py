"""What a proposer's model wrote, read as the object that its prompt asks for.

    {"phrases": ["red bus", ...], "negatives": [{"phrase": "red truck", "confused_with": "red bus"}, ...]}

`phrases` must be there; `negatives` may be missing. An entry of either list is a string or an object with a
`phrase`; other keys are passed over. Anything else is refused. Around the object, and in it, the following
is mended, and named in `Reading.repairs`: `thoughts` (what stands before `</think>`), a `code fence`, `text
around` the object, and the repairs of `services.networks.vlm.lenient`.

Phrases are normalised (`services.core.phrases`); what is no noun phrase is dropped, as are repeats and
negatives that are also phrases.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.core.errors import InvalidInput
from services.core.phrases import normalise
from services.networks.vlm.lenient import Reader, Text, Unreadable, Value

MOST_OBJECTS_TRIED = 20
_THOUGHTS_END = "</think>"


@dataclass(frozen=True)
class Named:
    """A normalised phrase, where it was written, and for a negative the normalised phrase it is confused
    with, if one was named.
    """

    phrase: str
    start: int
    end: int
    confused_with: str = ""


@dataclass(frozen=True)
class Reading:
    """The phrases and negatives in the order of writing, what was mended, and the texts that are no noun
    phrases.
    """

    phrases: tuple[Named, ...]
    negatives: tuple[Named, ...]
    repairs: tuple[str, ...]
    dropped: tuple[str, ...]


def read_answer(written: str) -> Reading:
    """The reading of an output. Raises `Unreadable` saying why it is none."""
    thoughts = written.rfind(_THOUGHTS_END)
    begin = thoughts + len(_THOUGHTS_END) if thoughts >= 0 else 0
    fault: Unreadable | None = None
    at = written.find("{", begin)
    for _ in range(MOST_OBJECTS_TRIED):
        if at < 0:
            break
        reader = Reader(written, at)
        try:
            value = reader.read()
            if not isinstance(value, dict) or "phrases" not in value:
                raise Unreadable("its object has no `phrases`")
        except Unreadable as found:
            fault = fault or found
            at = written.find("{", at + 1)
            continue
        around = [] if thoughts < 0 else ["thoughts"]
        if "```" in written[begin:at]:
            around.append("code fence")
        elif written[begin:at].strip() or written[reader.at :].strip():
            around.append("text around")
        return _reading(value, (*around, *reader.repairs))
    raise fault or Unreadable("it holds no JSON object")


def _reading(value: dict[str, Value], repairs: tuple[str, ...]) -> Reading:
    dropped: list[str] = []
    cut = "truncated" in repairs
    phrases = _entries(value, "phrases", cut, dropped)
    if cut and not phrases:
        raise Unreadable("it ends before its first phrase")
    if dropped and not phrases:
        raise Unreadable(f"none of its phrases is a noun phrase, the first is {dropped[0][:60]!r}")
    said = {entry.phrase for entry in phrases}
    negatives = [entry for entry in _entries(value, "negatives", cut, dropped) if entry.phrase not in said]
    return Reading(tuple(phrases), tuple(negatives), repairs, tuple(dropped))


def _entries(value: dict[str, Value], name: str, cut: bool, dropped: list[str]) -> list[Named]:
    """The entries of one list, normalised, each phrase once; the rest goes to `dropped`.

    Where the output is `cut`, a last entry without its phrase is passed over.
    """
    listed = value.get(name, [])
    if not isinstance(listed, list):
        raise Unreadable(f"its `{name}` is no list")
    found: dict[str, Named] = {}
    for entry in listed:
        text, other = entry, ""
        if isinstance(entry, dict):
            text = entry.get("phrase")
            if text is None and cut and entry is listed[-1]:
                continue
            named = entry.get("confused_with")
            other = _normal(named.value) if isinstance(named, Text) else ""
        if not isinstance(text, Text):
            raise Unreadable(f"an entry of its `{name}` is neither a string nor an object with a `phrase`")
        phrase = _normal(text.value)
        if phrase:
            found.setdefault(phrase, Named(phrase, text.start, text.end, other))
        else:
            dropped.append(text.value)
    return list(found.values())


def _normal(text: str) -> str:
    """The phrase's one spelling; empty for what is no noun phrase."""
    try:
        return normalise(text)
    except InvalidInput:
        return ""
