"""The tokens of the lettered choices, by which a verifier's answer is read off the next token's logits."""

from __future__ import annotations

from services.networks.errors import ModelError
from services.networks.vlm.prompting import LETTERS
from services.networks.vlm.speaking import Speaker


def choice_tokens(speaker: Speaker) -> list[int]:
    """The token of each letter A to F as the model would write it next.

    After a template that ends with a line break, letters are written as they are; after one that ends with a
    word or a sign (`ASSISTANT:`), with a space before them, which most tokenizers put into the token. Where
    that is not one token behind an unchanged prompt, the other way is tried. Raises `ModelError` where
    neither gives one token a letter.
    """
    prompt = speaker.render(1, "A or B?")
    before = speaker.tokens(prompt)
    leads = ("", " ") if prompt[-1:].isspace() else (" ", "")
    for lead in leads:
        found = [speaker.tokens(prompt + lead + letter) for letter in LETTERS]
        if all(tokens[:-1] == before for tokens in found) and len({t[-1] for t in found}) == len(LETTERS):
            return [tokens[-1] for tokens in found]
    counts = [len(speaker.tokens(leads[0] + letter)) for letter in LETTERS]
    raise ModelError(
        f"the tokenizer of {speaker.directory.folder} does not write each of {', '.join(LETTERS)} "
        f"as one token of its own after the chat template (but {', '.join(map(str, counts))} tokens), so no "
        "choice can be read off the next token; choose another model as verifier",
        invalid=False,
    )
