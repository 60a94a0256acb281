"""A JSON reader for what language models write: exact on valid JSON, and on the rest it makes only repairs
that it names.

| repair | what is read as if it were right |
|---|---|
| `quotes` | 'single', ‘typographic’ or “typographic” quotes around a string; an object's key without quotes |
| `escapes` | a backslash before a character that needs none; a raw line break or tab in a string |
| `commas` | a comma too many (before a bracket, doubled) or missing between two elements |
| `literals` | True, False, None |
| `comments` | `// ...`, `/* ... */` and an ellipsis in place of an element |
| `brackets` | the other kind of closing bracket; one too few or too many within what goes on |
| `truncated` | a text that ends early: what was complete stays, an unfinished string or word is dropped |
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

MOST_DEPTH = 16
_EXACT_DIGITS = 600
"""Whole numbers of so many digits are read exactly; Python itself may refuse those of over 640."""
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_NAME = re.compile(r"[A-Za-z_]\w*")
_LITERALS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_CLOSING = {'"': '"', "'": "'", "“": "”", "‘": "’"}
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_SPACE = " \t\r\n"
_ELLIPSES = ("...", "…")


class Unreadable(ValueError):
    """What was written is not what was asked for; the message says where it stops being so."""


@dataclass(frozen=True)
class Text:
    """A string and where its content stands in what was read."""

    value: str
    start: int
    end: int


Value = Text | int | float | bool | None | list["Value"] | dict[str, "Value"]


class _Cut(Exception):
    """The text ends inside a scalar."""


class Reader:
    """Reads one value at a position; afterwards `at` is behind it and `repairs` names what was mended."""

    def __init__(self, text: str, at: int = 0) -> None:
        self.text = text
        self.at = at
        self.repairs: dict[str, None] = {}
        self._open: list[str] = []

    def read(self) -> Value:
        """The value. Raises `Unreadable` where no listed repair helps."""
        try:
            return self._value(0)
        except _Cut:
            raise Unreadable("the text ends before anything is complete") from None

    def _value(self, depth: int) -> Value:
        self._skip()
        if self.at >= len(self.text):
            raise _Cut
        if depth > MOST_DEPTH:
            raise Unreadable(f"brackets are nested more than {MOST_DEPTH} deep")
        first = self.text[self.at]
        if first == "{":
            return self._object(depth)
        if first == "[":
            return self._array(depth)
        if first in _CLOSING:
            return self._string()
        return self._word()

    def _object(self, depth: int) -> dict[str, Value]:
        found: dict[str, Value] = {}
        self.at += 1
        self._open.append("}")
        try:
            while not self._closed():
                key = self._key()
                self._skip()
                if self.at >= len(self.text):
                    raise _Cut
                if self.text[self.at] != ":":
                    raise self._unexpected("a colon")
                self.at += 1
                found[key] = self._value(depth + 1)
                self._separate()
        except _Cut:
            self.repairs["truncated"] = None
        self._open.pop()
        return found

    def _array(self, depth: int) -> list[Value]:
        found: list[Value] = []
        self.at += 1
        self._open.append("]")
        try:
            while not self._closed():
                if self.text.startswith(_ELLIPSES, self.at):
                    self.repairs["comments"] = None
                    self.at += 1 if self.text[self.at] == "…" else 3
                else:
                    found.append(self._value(depth + 1))
                self._separate()
        except _Cut:
            self.repairs["truncated"] = None
        self._open.pop()
        return found

    def _closed(self) -> bool:
        """Whether the innermost container ends here; steps over its bracket.

        For the wrong bracket, what follows tells: where the next outer container goes on, it was meant for
        this one; where only this one goes on, for none; else this one's is missing, and it is left for an
        outer one.
        """
        closing, outer = self._open[-1], self._open[-2::-1]
        while True:
            self._skip()
            while self.text.startswith(",", self.at):
                self.repairs["commas"] = None
                self.at += 1
                self._skip()
            if self.at >= len(self.text):
                raise _Cut
            if self.text[self.at] == closing:
                self.at += 1
                return True
            if self.text[self.at] not in "}]":
                return False
            self.repairs["brackets"] = None
            going_on = self._going_on(self.at + 1)
            if going_on in outer[:1]:
                self.at += 1
                return True
            if going_on != closing or closing in outer:
                return True
            self.at += 1
            self._comma()

    def _going_on(self, at: int) -> str:
        """The closing bracket of the kind of container whose next part, or end, stands at a place: a key is
        an object's, another value after a comma a list's. Empty where neither is there.
        """
        ahead = Reader(self.text, at)
        comma = ahead._comma()
        first = self.text[ahead.at : ahead.at + 1]
        if not first or first in "}]":
            return first
        try:
            ahead._key()
            ahead._skip()
        except (_Cut, Unreadable):
            pass
        else:
            if self.text.startswith(":", ahead.at):
                return "}"
        return "]" if comma and (first in "{[" or first in _CLOSING) else ""

    def _comma(self) -> bool:
        """Step over white space and, if there is one, a comma and the white space after it; whether there
        was.
        """
        self._skip()
        there = self.text.startswith(",", self.at)
        if there:
            self.at += 1
            self._skip()
        return there

    def _separate(self) -> None:
        """Step over the comma after an element; there need be none before a bracket."""
        self._skip()
        if self.at >= len(self.text):
            raise _Cut
        if self._comma():
            if self.text[self.at : self.at + 1] in ("}", "]"):
                self.repairs["commas"] = None
        elif self.text[self.at] not in "}]":
            if self.text[self.at] not in '{["“' and not self.text.startswith(_ELLIPSES, self.at):
                raise self._unexpected("a comma or a bracket")
            self.repairs["commas"] = None

    def _key(self) -> str:
        if self.text[self.at] in _CLOSING:
            return self._string().value
        name = _NAME.match(self.text, self.at)
        if name is None:
            raise self._unexpected("a key")
        self.repairs["quotes"] = None
        self.at = name.end()
        return name.group()

    def _word(self) -> Value:
        number = _NUMBER.match(self.text, self.at)
        if self.text[self.at :] == "-" or (number and number.end() == len(self.text)):
            raise _Cut
        if number:
            self.at = number.end()
            digits = number.group()
            whole = digits.lstrip("-").isdecimal() and len(digits) <= _EXACT_DIGITS
            return int(digits) if whole else float(digits)
        name = _NAME.match(self.text, self.at)
        if name is None or name.group() not in _LITERALS:
            if name is not None and name.end() == len(self.text):
                raise _Cut
            raise self._unexpected("a value")
        if name.group()[0].isupper():
            self.repairs["literals"] = None
        self.at = name.end()
        return _LITERALS[name.group()]

    def _string(self) -> Text:
        opening = self.text[self.at]
        closing = _CLOSING[opening]
        if opening != '"':
            self.repairs["quotes"] = None
        start = at = self.at + 1
        parts: list[str] = []
        while at < len(self.text):
            sign = self.text[at]
            if sign == closing and (closing in '"”' or self._ends_string(at)):
                self.at = at + 1
                return Text("".join(parts), start, at)
            if sign == "\\":
                decoded, at = self._escape(at)
                parts.append(decoded)
                continue
            if sign < " ":
                self.repairs["escapes"] = None
            parts.append(sign)
            at += 1
        self.at = at
        raise _Cut

    def _escape(self, at: int) -> tuple[str, int]:
        """The character of the escape at a backslash, and where it ends; two halves of a surrogate pair are
        one.
        """
        sign = self.text[at + 1 : at + 2]
        if sign == "u":
            pair = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}")
            found = pair.match(self.text, at)
            if found:
                return str(json.loads(f'"{found.group()}"')), found.end()
        if sign in _ESCAPES:
            return _ESCAPES[sign], at + 2
        self.repairs["escapes"] = None
        return sign, at + 2

    def _ends_string(self, at: int) -> bool:
        """Whether an apostrophe ends a string: something that can follow a string follows."""
        rest = self.text[at + 1 :].lstrip(_SPACE)
        return not rest or rest[0] in ",:}]"

    def _skip(self) -> None:
        """Step over white space and comments."""
        while self.at < len(self.text):
            if self.text[self.at] in _SPACE:
                self.at += 1
            elif self.text.startswith(("//", "/*"), self.at):
                self.repairs["comments"] = None
                end = "\n" if self.text[self.at + 1] == "/" else "*/"
                found = self.text.find(end, self.at + 2)
                self.at = len(self.text) if found < 0 else found + len(end)
            else:
                return

    def _unexpected(self, wanted: str) -> Unreadable:
        near = self.text[self.at : self.at + 20]
        return Unreadable(f"{wanted} is expected at character {self.at}, where {near!r} stands")
