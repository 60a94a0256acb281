"""Speaking with a vision-language model: pictures and a text in by its chat template; the next token's logits
or a written text out.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from services.networks.errors import ModelError, NotFinite
from services.networks.vlm.directory import Directory

Pixels = npt.NDArray[np.uint8]
Told = TypeVar("Told")


@dataclass(frozen=True)
class Question:
    """Pictures uint8 [H, W, 3], in order, and the text after them."""

    pictures: tuple[Pixels, ...]
    text: str


@dataclass(frozen=True)
class Written:
    """A written text, the place [n, 2] of each of its tokens, their log probabilities [n], and whether the
    model came to its end by itself.
    """

    text: str
    spans: npt.NDArray[np.int64]
    worth: npt.NDArray[np.float64]
    ended: bool

    def score(self, start: int, end: int) -> float:
        """Geometric mean of the probabilities of the tokens that wrote a part of the text."""
        inside = (self.spans[:, 0] < end) & (self.spans[:, 1] > start)
        return float(np.exp(self.worth[inside].mean())) if inside.any() else 0.0


class Speaker:
    """A loaded directory that is spoken to. Not thread-safe."""

    def __init__(self, directory: Directory, device: torch.device) -> None:
        self.directory = directory
        self.version = directory.version
        self._network, self._processor = directory.network, directory.processor
        self._tokenizer = directory.processor.tokenizer
        self._template = directory.template
        self._device = device
        takes = inspect.signature(directory.network.forward).parameters
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        self._reserved = {
            token
            for token in (*self._tokenizer.all_special_tokens, getattr(self._processor, "image_token", None))
            if token and not token.isspace()
        }
        self._check_template()

    def refuse_reserved(self, text: str) -> None:
        """Raises `ModelError` for a text with a token that steers the model, such as an image's place."""
        for token in self._reserved:
            if token in text:
                raise ModelError(
                    f"the phrase {text[:60]!r} holds {token!r}, which steers the model; leave it out"
                )

    def render(self, pictures: int, text: str) -> str:
        """The prompt as the chat template writes it. Spaces at its end go: they belong to the answer's first
        token.
        """
        content = [{"type": "image"}] * pictures + [{"type": "text", "text": text}]
        rendered: str = self._processor.apply_chat_template(
            [{"role": "user", "content": content}],
            chat_template=self._template,
            add_generation_prompt=True,
            tokenize=False,
        )
        return rendered.rstrip(" ")

    def tokens(self, text: str) -> list[int]:
        """The tokens of a text, without those that open or close one."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def ask(
        self,
        questions: Sequence[Callable[[], Question]],
        size: int,
        answer: Callable[[Sequence[Question]], Sequence[Told | ModelError]],
    ) -> list[Told | ModelError]:
        """One answer or error a question, asked `size` at once; a question is made when its turn comes.

        A picture that the model's processor refuses, for its proportions say, fails alone.
        """
        told: list[Told | ModelError] = []
        for start in range(0, len(questions), size):
            some = [make() for make in questions[start : start + size]]
            try:
                told += answer(some)
            except torch.OutOfMemoryError:
                short = ModelError(
                    f"{self.version} has not memory enough for {len(some)} questions at once; lower "
                    "vlm_batch or vlm_longest_side",
                    invalid=False,
                )
                told += [short] * len(some)
            except (ValueError, TypeError, LookupError, RuntimeError, ArithmeticError) as fault:
                if len(some) > 1:
                    told += self.ask(questions[start : start + size], 1, answer)
                else:
                    told.append(ModelError(f"{self.version} cannot take this image: {fault}"))
        return told

    def encode(self, questions: Sequence[Question]) -> Any:
        """The network's inputs, padded on the left, on its device and in its number format."""
        texts = [self.render(len(question.pictures), question.text) for question in questions]
        pictures = [[Image.fromarray(shown) for shown in question.pictures] for question in questions]
        opening = self._tokenizer.bos_token
        encoded = self._processor(
            text=texts,
            images=pictures,
            padding=True,
            return_tensors="pt",
            add_special_tokens=not (opening and texts[0].startswith(opening)),
        )
        return encoded.to(self._device, self._network.dtype)

    def next_logits(self, questions: Sequence[Question]) -> Tensor:
        """Logits fp32 [Q, vocabulary] of the token after each prompt."""
        logits: Tensor = self._network(**self.encode(questions), use_cache=False, **self._last_only).logits
        return logits[:, -1].float()

    def write(
        self, questions: Sequence[Question], most: int, temperature: float
    ) -> list[Written | ModelError]:
        """What the model writes, at most `most` tokens a question; greedy at temperature 0. Where it gives
        NaN or infinity, the error.
        """
        inputs = self.encode(questions)
        recorder = _Recorder(len(questions), self._device)
        sampled = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        make: Callable[..., GenerationConfig] = GenerationConfig
        config = make(
            max_new_tokens=most, num_beams=1, **(sampled if temperature > 0 else {"do_sample": False})
        )
        given = self._network.generation_config
        config.eos_token_id = given.eos_token_id
        if config.eos_token_id is None:
            config.eos_token_id = self._tokenizer.eos_token_id
        if given.pad_token_id is None:
            config.pad_token_id = self._tokenizer.pad_token_id
        sequences = self._network.generate(
            **inputs, generation_config=config, logits_processor=LogitsProcessorList([recorder])
        )
        recorder.finish(sequences)
        tokens = sequences[:, inputs["input_ids"].shape[1] :].tolist()
        worth = torch.stack(recorder.worth, 1).cpu().double().numpy()
        unfit = NotFinite(self.version, self.directory.folder)
        ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
        return [
            unfit if broken else self._written(row, values, set(ends))
            for row, values, broken in zip(tokens, worth, recorder.broken.tolist(), strict=True)
        ]

    def _written(self, tokens: list[int], worth: npt.NDArray[np.float64], ends: set[int]) -> Written:
        stop = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
        kept = tokens[:stop]
        lengths = [0]
        for count in range(1, len(kept) + 1):
            # A token may complete a character that the one before began, so that a text's length can fall.
            lengths.append(max(len(self._decode(kept[:count])), lengths[-1]))
        spans = np.array([lengths[:-1], lengths[1:]], np.int64).T.reshape(-1, 2)
        return Written(self._decode(kept), spans, worth[: len(kept)], stop < len(tokens))

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def _check_template(self) -> None:
        """Raises `ModelError` unless the template writes the text and a place for each image."""
        folder = self.directory.folder
        try:
            rendered = self.render(1, "yellow bus")
        except Exception as fault:  # a template may raise anything
            raise ModelError(f"the chat template of {folder} fails: {fault}", invalid=False) from fault
        place = getattr(self._processor, "image_token", None)
        if "yellow bus" not in rendered or (place and place not in rendered):
            left_out = "image" if "yellow bus" in rendered else "text"
            raise ModelError(
                f"the chat template of {folder} leaves out the {left_out}; "
                "take the chat_template.jinja of the public model's own directory",
                invalid=False,
            )


class _Recorder(LogitsProcessor):
    """Keeps the log probability of each token that is written: all logits of a long text would fill the
    memory.
    """

    def __init__(self, rows: int, device: torch.device) -> None:
        self.worth: list[Tensor] = []
        self.broken = torch.zeros(rows, dtype=torch.bool, device=device)
        self._last: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.finish(input_ids)
        broken = scores.isnan().any(-1) | scores.isposinf().any(-1) | scores.isneginf().all(-1)
        self.broken |= broken
        scores = scores.masked_fill(broken[:, None], 0.0)  # its neighbours in the batch go on
        self._last = torch.log_softmax(scores.float(), -1)
        return scores

    def finish(self, sequences: Tensor) -> None:
        """Note the last token, for which the last scores were."""
        if self._last is not None:
            self.worth.append(self._last.gather(-1, sequences[:, -1:])[:, 0])
        self._last = None
