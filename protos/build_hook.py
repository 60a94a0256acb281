"""Compile the protos when a wheel is built, and put `tercet.v1` into it.

Build it without isolation (`uv build --no-build-isolation`): protobuf refuses the code of a compiler that is
newer than the installed runtime. An editable install reads gen/ itself, which `make protos` keeps.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ProtosHook(BuildHookInterface[Any]):
    """Hatchling's custom build hook."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects files; `version` is `standard` or `editable`."""
        if version != "standard":
            return
        script = runpy.run_path(str(Path(self.root) / "protos" / "compile.py"))
        script["compile_protos"]()
        build_data["force_include"][str(Path(self.root) / "gen" / "tercet")] = "tercet"
