"""`python -m gateway.cli` is `tercet`."""

from __future__ import annotations

from gateway.cli import main

main()
