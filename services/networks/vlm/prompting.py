"""The prompts as files: where they are found, what they must hold, how they are filled in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from string import Template

from services.networks.errors import ModelError
from services.networks.verifier.architecture import CHOICES

BUNDLED = Path(__file__).with_name("prompts")
LETTERS = "ABCDEF"
_FIELDS: dict[str, tuple[str, ...]] = {
    "propose": ("max_phrases", "max_negatives"),
    "mv": ("phrase", "far", "near"),
    "ev": ("phrase",),
    "nv": ("phrase",),
}


@dataclass(frozen=True)
class Prompt:
    """The text of a prompt file, checked."""

    template: Template

    def fill(self, **values: str | int) -> str:
        """The prompt with its `$names` replaced; a `$` in a value stays as it is."""
        return self.template.substitute({name: str(value) for name, value in values.items()})


def read_prompt(name: str, own: Path | None) -> Prompt:
    """The prompt `propose`, `mv`, `ev` or `nv` from a folder of one's own, else the bundled one.

    Raises `ModelError` naming the file, where it has no UTF-8 text, fields that nobody fills in, no
    `$phrase`, or not the lettered choices of its task.
    """
    if own is not None and not own.is_dir():
        raise ModelError(f"the prompts' folder {own} does not exist", invalid=False)
    path = own / f"{name}.md" if own is not None and (own / f"{name}.md").exists() else BUNDLED / f"{name}.md"
    try:
        text = path.read_text("utf-8").strip()
        prompt = Prompt(Template(text))
        filled = prompt.fill(**dict.fromkeys(_FIELDS[name], "x"))
    except KeyError as fault:
        fields = ", ".join(f"${field}" for field in _FIELDS[name])
        raise ModelError(
            f"{path} has the field ${fault.args[0]}, which nobody fills in; known are {fields}", invalid=False
        ) from fault
    except (OSError, ValueError) as fault:
        raise ModelError(
            f"{path} is no prompt: {fault}; a lone dollar sign is written $$", invalid=False
        ) from fault
    if not filled:
        raise ModelError(f"{path} is empty; see {BUNDLED / 'README.md'}", invalid=False)
    if name != "propose":
        _check_choices(path, name, text)
    return prompt


def _check_choices(path: Path, task: str, text: str) -> None:
    wanted = list(LETTERS[: len(CHOICES[task])])
    found = re.findall(r"^([A-Z])\. ", text, re.MULTILINE)
    if found != wanted:
        raise ModelError(
            f"{path} lists the choices {', '.join(found) or 'none'}; it must list {', '.join(wanted)}, each "
            f"at the start of a line, for {', '.join(CHOICES[task])}",
            invalid=False,
        )
    if not re.search(r"\$\{?phrase\b", text):
        raise ModelError(
            f"{path} has no $phrase; without it the model does not know what is asked", invalid=False
        )
