"""Every failure becomes one line on stderr and an exit code (`gateway.cli` lists them)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import typer
from typer.core import TyperGroup

DONE_NOT_WELL = 1
UNREACHABLE = 3
REFUSED_KEY = 4
NO_SUCH_THING = 5
REFUSED = 6
NOT_NOW = 7
NOT_AS_PROMISED = 8
INTERRUPTED = 130


class ReportingGroup(TyperGroup):
    """The root of the commands: tells what they raise, without a stack trace."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            tell("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            code = exit_code(error)
            if code is None:
                raise
            tell(str(error))
            raise typer.Exit(code) from None


def tell(message: str) -> None:
    """One line to stderr."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)


def exit_code(error: Exception) -> int | None:
    """The code of an expected failure; None for a defect or for what the command line reports itself."""
    from pydantic import ValidationError

    from gateway.client import errors

    codes: Mapping[type[Exception], int] = {
        errors.Unreachable: UNREACHABLE,
        errors.Unauthenticated: REFUSED_KEY,
        errors.Forbidden: REFUSED_KEY,
        errors.UnusableKey: REFUSED_KEY,
        errors.NotFound: NO_SUCH_THING,
        errors.InvalidRequest: REFUSED,
        errors.Conflict: REFUSED,
        errors.TooLarge: REFUSED,
        errors.UnsupportedMedia: REFUSED,
        errors.NothingToSubmit: REFUSED,
        errors.UnreadableSource: REFUSED,
        errors.Overloaded: NOT_NOW,
        errors.WaitExpired: NOT_NOW,
        errors.ServerFailure: DONE_NOT_WELL,
        errors.CorruptDownload: NOT_AS_PROMISED,
        errors.Unexpected: NOT_AS_PROMISED,
        ValidationError: REFUSED,
        OSError: NOT_AS_PROMISED,
    }
    return next((codes[base] for base in type(error).__mro__ if base in codes), None)
