"""What is refused when a public vision-language model is loaded: the file at fault and the fix are named, and
the layouts of older directories are taken.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from services.networks.proposer.served import ServedProposer
from services.networks.serving import ModelError, NetworkSettings, load
from services.networks.settings import REPOSITORY
from services.networks.verifier.served import ServedVerifier
from services.networks.vlm.proposer import VlmProposer
from services.networks.vlm.verifier import VlmVerifier
from tests.support.vlm_directories import make_llava, make_mllama, make_qwen2_vl

Spoil = Callable[[Path], Any]
NO_TOKENS = '{"added_tokens": [1]}'


def settings(folder: Path, **more: Any) -> NetworkSettings:
    given = {"verifier_weights": folder, "concept_proposer_weights": folder, "device": "cpu", "threads": 1}
    return NetworkSettings.model_validate({**given, **more})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_qwen2_vl(tmp_path_factory.mktemp("vlm") / "made")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A directory of the test's own."""
    for path in made.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def edit(name: str, change: Callable[[dict[str, Any]], Any]) -> Spoil:
    def spoil(folder: Path) -> None:
        content = json.loads((folder / name).read_text("utf-8"))
        change(content)
        (folder / name).write_text(json.dumps(content), "utf-8")

    return spoil


def write(name: str, text: str) -> Spoil:
    return lambda folder: (folder / name).write_text(text, "utf-8")


def remove(name: str) -> Spoil:
    return lambda folder: (folder / name).unlink()


def truncate(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def retouch(change: Callable[[dict[str, torch.Tensor]], Any]) -> Spoil:
    def spoil(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return spoil


def break_one(tensors: dict[str, torch.Tensor]) -> None:
    name = next(name for name in tensors if "q_proj.weight" in name)
    tensors[name] = torch.full_like(tensors[name], torch.nan)


def drop_one(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[next(name for name in tensors if "q_proj.weight" in name)]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            remove("processor_config.json"),
            r"has no processor_config.json or preprocessor_config.json; copy the",
        ),
        (remove("tokenizer.json"), r"has no tokenizer.json or tokenizer.model or vocab.json; copy the whole"),
        (remove("chat_template.jinja"), r"has no chat_template.jinja .* choose the instruction-tuned model"),
        (remove("model.safetensors"), r"holds no weights"),
        (truncate, r"model.safetensors is damaged or truncated .*fetch it again"),
        (retouch(break_one), r"holds NaN or infinity in .*q_proj.weight; fetch it again"),
        (
            edit("config.json", lambda c: c["text_config"].update(intermediate_size=48)),
            r"has weights of another qwen2_vl, the first is .* has shape \(.*\), not \(.*config.json belongs",
        ),
        (write("tokenizer.json", NO_TOKENS), r"the processor of .* cannot be loaded"),
        (retouch(drop_one), r"lacks weights of its qwen2_vl, the first is .*q_proj.weight"),
        (write("config.json", "{"), r"config.json is not (a )?JSON"),
        (
            edit("config.json", lambda c: c.update(model_type="bert")),
            r"config.json describes a 'bert' model.*LLaVA",
        ),
        (write("processor_config.json", "[]"), r"the processor of .* cannot be loaded"),
        (
            write("chat_template.jinja", "{{ messages[0]['content'][-1]['text'] }}"),
            r"template of .* leaves out the image",
        ),
        (write("chat_template.jinja", "<|image_pad|>"), r"template of .* leaves out the text"),
        (write("chat_template.jinja", "{% for"), r"the chat template of .* fails"),
        (
            write("tercet.json", '{"temperatures": {"mv": 0}}'),
            r"tercet.json: the temperature of mv must be a number from 0.001 to 1000, not 0",
        ),
        (
            write("tercet.json", '{"temperatures": {"nv": 1e-320}}'),
            r"tercet.json: the temperature of nv must be a number from 0.001 to 1000, not 1e-320",
        ),
        (
            write("tercet.json", '{"temperatures": {"xv": 1}}'),
            r"tercet.json: temperatures .* by task \(mv, ev, nv\)",
        ),
        (write("tercet.json", '{"crops": "both"}'), r"tercet.json: crops must be"),
    ],
)
def test_a_spoilt_directory_is_refused_with_file_and_fix(folder: Path, spoil: Spoil, message: str) -> None:
    spoil(folder)
    for name in ("verifier", "concept_proposer"):
        with pytest.raises(ModelError, match=message) as caught:
            load(name, settings(folder, verifier="vlm", concept_proposer="vlm"))
        assert str(folder) in str(caught.value)
        assert not caught.value.invalid


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    for kind in ("vlm", "bundled", "auto"):
        for name in ("verifier", "concept_proposer"):
            with pytest.raises(ModelError, match=r"/none does not exist; name the model's whole directory"):
                load(name, settings(tmp_path / "none", verifier=kind, concept_proposer=kind))
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match=r"/file is a file, not a directory"):
        load("verifier", settings(tmp_path / "file"))


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("verifier", write("tokenizer.json", "{"), r"the tokenizer of .* cannot be loaded"),
        ("verifier", write("tokenizer.json", NO_TOKENS), r"the tokenizer of .* cannot be loaded"),
        ("verifier", remove("tokenizer.json"), r"has no tokenizer .*copy the whole"),
        ("verifier", write("tercet.json", '{"temperatures": {"mv": "x"}}'), r"temperature of mv .*, not 'x'"),
        ("verifier", write("tercet.json", '{"temperatures": {"ev": 1e-320}}'), r"temperature of ev .*1e-320"),
        ("concept_proposer", write("tokenizer.json", "{"), r"tokenizer.json is not a JSON object"),
        ("concept_proposer", write("tokenizer.json", NO_TOKENS), r"has no processor_config.json"),
        (
            "concept_proposer",
            write("tercet.json", '{"phrase_threshold": "x"}'),
            r"tercet.json: phrase_threshold must be a number from 0 to 1, not 'x'",
        ),
    ],
)
def test_a_spoilt_copy_of_the_bundled_is_refused_with_file_and_fix(
    tmp_path: Path, name: str, spoil: Spoil, message: str
) -> None:
    folder = shutil.copytree(REPOSITORY / name / "1", tmp_path / "copy")
    spoil(folder)
    with pytest.raises(ModelError, match=message) as caught:
        load(name, settings(folder))
    assert str(folder) in str(caught.value)
    assert not caught.value.invalid


def test_letters_of_several_tokens_cannot_verify(tmp_path: Path) -> None:
    folder = make_mllama(tmp_path)
    spelt_out = {"type": "Replace", "pattern": {"String": "A"}, "content": "~A~"}
    edit("tokenizer.json", lambda content: content.update(normalizer=spelt_out))(folder)
    with pytest.raises(ModelError, match="does not write each of A, B, C, D, E, F as one token of its own"):
        load("verifier", settings(folder))


def test_the_layout_of_older_directories(folder: Path) -> None:
    """Qwen2-VL was published with preprocessor_config.json and chat_template.json."""
    newer = load("verifier", settings(folder)).version
    processor = json.loads((folder / "processor_config.json").read_text("utf-8"))
    pictures = {**processor["image_processor"], "processor_class": "Qwen2VLProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures), "utf-8")
    template = (folder / "chat_template.jinja").read_text("utf-8")
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}), "utf-8")
    for name in ("processor_config.json", "chat_template.jinja"):
        (folder / name).unlink()
    model = load("verifier", settings(folder))
    model.warm_up()
    assert model.version == newer


def test_a_template_that_the_tokenizer_brings(folder: Path) -> None:
    template = (folder / "chat_template.jinja").read_text("utf-8")
    (folder / "chat_template.jinja").unlink()
    edit("tokenizer_config.json", lambda content: content.update(chat_template=template))(folder)
    model = load("verifier", settings(folder))
    model.warm_up()
    assert isinstance(model, VlmVerifier)


def test_what_serves_is_told_by_the_directory_or_by_the_setting(made: Path, tmp_path: Path) -> None:
    llava = make_llava(tmp_path)
    assert isinstance(load("verifier", settings(made)), VlmVerifier)
    assert isinstance(load("concept_proposer", settings(llava)), VlmProposer)
    with pytest.raises(ModelError, match="'llava' is needed"):
        load("concept_proposer", settings(made, concept_proposer="bundled"))
    for model, served in (("verifier", ServedVerifier), ("concept_proposer", ServedProposer)):
        assert isinstance(load(model, settings(REPOSITORY / model / "1")), served)


def test_a_processor_that_names_no_patch_size_is_told(tmp_path: Path) -> None:
    folder = make_llava(tmp_path)
    edit("processor_config.json", lambda content: content.pop("patch_size"))(folder)
    for name in ("verifier", "concept_proposer"):
        with pytest.raises(ModelError, match=r"names no patch_size.*to processor_config.json") as caught:
            load(name, settings(folder))
        assert str(folder) in str(caught.value)
