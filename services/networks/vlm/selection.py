"""Whether a directory is served as a public vision-language model or as the bundled network of its name."""

from __future__ import annotations

from pathlib import Path

from services.networks.pretrained import read_json
from services.networks.proposer.language import NEGATIVES, SEPARATOR
from services.networks.settings import Kind


def serves_vlm(model: str, kind: Kind, folder: Path) -> bool:
    """What the setting says; with `auto`, what the directory shows.

    The bundled verifier's directory has no config.json. The bundled proposer's is a LLaVA whose tokenizer
    knows the separators of its language as tokens of their own.
    """
    if kind != "auto":
        return kind == "vlm"
    config = read_json(folder / "config.json")
    if not config or model == "verifier":
        return bool(config)
    added = read_json(folder / "tokenizer.json").get("added_tokens")
    listed = added if isinstance(added, list) else []
    return not {SEPARATOR, NEGATIVES} <= {token.get("content") for token in listed if isinstance(token, dict)}
