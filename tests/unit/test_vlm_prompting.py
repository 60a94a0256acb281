"""Prompts as files: the bundled ones are whole, one's own are checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.networks.errors import ModelError
from services.networks.verifier.architecture import CHOICES
from services.networks.vlm.prompting import BUNDLED, LETTERS, read_prompt

NV = "Is it absent?\n$phrase\nA. Yes\nB. No"


@pytest.mark.parametrize("task", CHOICES)
def test_the_bundled_prompts_list_the_contracts_choices(task: str) -> None:
    fields = {"far": "the first", "near": "the second"} if task == "mv" else {}
    text = read_prompt(task, None).fill(phrase="a $5 bill", **fields)
    assert "a $5 bill" in text
    assert all(f"\n{letter}. " in text for letter in LETTERS[: len(CHOICES[task])])


def test_the_proposers_prompt_asks_for_so_many() -> None:
    text = read_prompt("propose", None).fill(max_phrases=7, max_negatives=3)
    assert "at most 7 " in text
    assert "at most 3 " in text
    assert '{"phrases": [' in text


def test_ones_own_prompt_goes_first_and_the_rest_is_bundled(tmp_path: Path) -> None:
    (tmp_path / "nv.md").write_text(NV, "utf-8")
    assert read_prompt("nv", tmp_path).fill(phrase="bus") == NV.replace("$phrase", "bus")
    assert read_prompt("ev", tmp_path).template.template == (BUNDLED / "ev.md").read_text("utf-8").strip()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (NV.replace("B. No", ""), r"nv\.md lists the choices A; it must list A, B, .* for absent, present"),
        (NV + "\nC. Perhaps", r"nv\.md lists the choices A, B, C; it must list A, B"),
        (NV.replace("$phrase", "it"), r"nv\.md has no \$phrase"),
        (NV + " $colour", r"nv\.md has the field \$colour, which nobody fills in; known are \$phrase"),
        (NV + " for 5 $", r"nv\.md is no prompt: .* written \$\$"),
        ("", r"nv\.md is empty"),
    ],
)
def test_a_prompt_that_cannot_serve_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "nv.md").write_text(text, "utf-8")
    with pytest.raises(ModelError, match=message):
        read_prompt("nv", tmp_path)


def test_a_prompt_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "nv.md").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match=r"nv\.md is no prompt"):
        read_prompt("nv", tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        read_prompt("nv", tmp_path / "none")
