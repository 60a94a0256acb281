"""The networks' own arithmetic: boxes, masks, crops, decoding; against references where there are some."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from segment_anything.modeling import Sam
from transformers import Owlv2ImageProcessor

from gateway.admission import Limits, admit
from services.networks.errors import ModelError
from services.networks.geometry import paired_iou, suppress
from services.networks.grounder.architecture import box_corners, build_tiny, phrase_logits, token_features
from services.networks.images import decode_image, fit_longest_side, pad_square
from services.networks.precision import choose_attention, choose_device, choose_dtype
from services.networks.proposer.decoding import Written
from services.networks.proposer.language import confused_with, write
from services.networks.sam.architecture import build_vit_tiny
from services.networks.sam.decoding import decode_tokens, embed_prompts, upscale_masks
from services.networks.verifier.views import mask_crops, mask_sheet, rims
from services.networks.vocabulary import word_tokenizer


@pytest.fixture(scope="module")
def sam() -> Sam:
    torch.manual_seed(0)
    return build_vit_tiny().eval()


@torch.inference_mode()
def test_the_two_step_decoder_equals_segment_anythings(sam: Sam) -> None:
    embedding = torch.randn(1, 4 * sam.prompt_encoder.embed_dim, *sam.prompt_encoder.image_embedding_size)
    boxes = torch.tensor([[10.0, 20, 90, 120], [100, 100, 200, 250]])
    sparse, dense = embed_prompts(sam, None, None, boxes, None)
    both = embedding.expand(2, -1, -1, -1)
    tokens = decode_tokens(sam, both, sparse, dense)
    ours = upscale_masks(sam, tokens, both)
    theirs, iou = sam.mask_decoder.predict_masks(
        image_embeddings=embedding,
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(tokens.predicted_iou, iou, rtol=1e-4, atol=1e-4)
    some = upscale_masks(sam, tokens.take(torch.tensor([1])), embedding, slice(1, 4))
    torch.testing.assert_close(some[0], theirs[1, 1:], rtol=1e-4, atol=1e-4)


def test_suppression_keeps_the_best_of_each_group() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 10, 10], [20, 20, 30, 30]])
    assert suppress(boxes, torch.tensor([0.5, 0.9, 0.7]), 0.5).tolist() == [1, 2]
    assert suppress(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []


def test_generalised_iou_by_hand() -> None:
    first, second = torch.tensor([0.0, 0, 2, 2]), torch.tensor([1.0, 1, 3, 3])
    iou, generalised = paired_iou(first, second)
    assert float(iou) == pytest.approx(1 / 7, abs=1e-5)
    assert float(generalised) == pytest.approx(1 / 7 - 2 / 9, abs=1e-5)


@torch.inference_mode()
def test_the_grounders_parts_equal_transformers_forward() -> None:
    torch.manual_seed(0)
    tokenizer = word_tokenizer(["red", "bus"])
    network: Any = build_tiny(
        len(tokenizer), tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id
    )
    network.eval()
    # transformers embeds the whole image as well, which detection does not use and ours leaves out.
    network.owlv2.visual_projection = torch.nn.Linear(192, 128, bias=False)
    pixels = torch.randn(1, 3, 252, 252)
    words = tokenizer(["red bus", "bus"], padding="max_length", max_length=8, return_tensors="pt")
    theirs = network(pixel_values=pixels, **{k: words[k] for k in ("input_ids", "attention_mask")})
    features, _ = token_features(network, pixels)
    text = network.owlv2.text_model(input_ids=words["input_ids"], attention_mask=words["attention_mask"])
    queries = network.owlv2.text_projection(text.pooler_output)
    torch.testing.assert_close(phrase_logits(network, features, queries), theirs.logits, rtol=1e-4, atol=1e-4)
    corners = box_corners(network, features)
    centres = torch.cat([(corners[..., :2] + corners[..., 2:]) / 2, corners[..., 2:] - corners[..., :2]], -1)
    torch.testing.assert_close(centres, theirs.pred_boxes, rtol=1e-4, atol=1e-5)


def test_preprocessing_is_close_to_owlv2s_own() -> None:
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 255, (12, 20, 3), np.uint8)).resize((300, 200), 2)
    pixels = np.asarray(smooth)
    processor = Owlv2ImageProcessor(
        size={"height": 252, "width": 252}, image_mean=[0.5] * 3, image_std=[0.25] * 3
    )
    theirs = processor(images=[smooth], return_tensors="pt")["pixel_values"][0]
    ours = (
        torch.from_numpy(fit_longest_side(pad_square(pixels), 252).copy()).permute(2, 0, 1) / 255 - 0.5
    ) / 0.25
    # The last rows of the image meet the padding there, where the two ways of antialiasing differ most.
    assert float((ours - theirs)[:, :160].abs().mean()) < 0.02


def test_images_that_cannot_be_decoded_are_refused() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (50, 40), (1, 2, 3)).save(buffer, "JPEG")
    for spoilt in (b"", b"<svg/>", buffer.getvalue()[:-200]):
        with pytest.raises(ModelError) as caught:
            decode_image(spoilt)
        assert caught.value.invalid
    assert decode_image(buffer.getvalue()).shape == (40, 50, 3)


def test_a_decoder_that_fails_in_its_own_way_fails_the_image_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (50, 40)).save(buffer, "PNG")

    def broken(_: Image.Image) -> None:
        raise RuntimeError("Missing or empty image item")  # as Pillow's AVIF decoder

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", broken)
    with pytest.raises(ModelError, match="cannot be decoded: Missing") as caught:
        decode_image(buffer.getvalue())
    assert caught.value.invalid


def test_an_image_is_turned_upright() -> None:
    image = Image.new("RGB", (50, 40), (1, 2, 3))
    exif = image.getexif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)
    assert decode_image(buffer.getvalue()).shape == (50, 40, 3)


def sixteen_bits() -> Image.Image:
    return Image.fromarray(np.linspace(0, 65535, 40 * 24).astype(np.uint16).reshape(24, 40))


def see_through() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 4), np.uint8)
    return Image.fromarray(pixels, "RGBA")


@pytest.mark.parametrize(
    ("picture", "format_"),
    [
        (sixteen_bits(), "PNG"),
        (sixteen_bits().convert("I"), "TIFF"),
        (see_through(), "PNG"),
        (see_through().convert("LA"), "PNG"),
        (see_through().convert("CMYK"), "JPEG"),
    ],
    ids=["16 bits", "16 bits in 32", "alpha", "grey alpha", "CMYK"],
)
def test_a_picture_sent_straight_is_seen_as_the_gateway_stores_it(picture: Image.Image, format_: str) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, format_)
    stored = admit(buffer.getvalue(), Limits(bytes=100_000, pixels=10_000, side=1_000)).content
    seen = decode_image(buffer.getvalue())
    assert np.array_equal(seen, np.asarray(Image.open(io.BytesIO(stored))))
    assert len(np.unique(seen)) > 50


def test_pixels_of_an_unknown_range_are_refused() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)).save(buffer, "TIFF")
    with pytest.raises(ModelError, match=r"floating-point pixels.*save it with 8 or 16 bits"):
        decode_image(buffer.getvalue())


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "", "meta"])
def test_a_device_that_does_not_exist_is_refused_with_the_choices(device: str) -> None:
    with pytest.raises(ModelError, match=r"TERCET_NETWORKS_DEVICE.*auto, cpu, cuda or cuda:N") as caught:
        choose_device(device)
    assert not caught.value.invalid


def test_a_device_that_is_not_there_is_refused() -> None:
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    with pytest.raises(ModelError, match=f"cuda:{there}, and torch finds {there} CUDA devices"):
        choose_device(f"cuda:{there}")
    assert choose_device("cpu") == torch.device("cpu")


def test_attention_is_plain_only_in_bf16_on_a_cpu_and_over_few_tokens() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert choose_attention(cpu, torch.bfloat16, 729) == "eager"
    assert choose_attention(cpu, torch.bfloat16, 3600) == "sdpa"
    assert choose_attention(cpu, torch.float32, 729) == "sdpa"
    assert choose_attention(cuda, torch.bfloat16, 729) == "sdpa"


def test_precision_can_be_chosen() -> None:
    cpu = torch.device("cpu")
    assert choose_dtype("float32", cpu) == torch.float32
    assert choose_dtype("bfloat16", cpu) == torch.bfloat16
    assert choose_dtype("auto", torch.device("cuda")) == torch.bfloat16


def test_crops_show_the_mask_where_it_is() -> None:
    image = torch.zeros(3, 100, 100, dtype=torch.uint8)
    mask = torch.zeros(100, 100, dtype=torch.bool)
    mask[40:60, 0:20] = True
    image[:, mask] = 200
    near, far = mask_crops(image, mask)
    assert near.shape == far.shape == (5, 120, 120)
    # The near crop is 1.3 sides wide and the mask fills (1 / 1.3)^2 of it; colour and mask lie together.
    assert float(near[3].mean()) == pytest.approx(1 / 1.3**2, abs=0.05)
    assert float((near[0] > 100).float().mean()) == pytest.approx(float(near[3].mean()), abs=0.05)
    assert float(far[4].mean()) == pytest.approx(1 / 3**2, abs=0.03)
    assert mask_crops(image, torch.zeros_like(mask)).isfinite().all()


def test_a_rim_is_the_outermost_pixel() -> None:
    mask = torch.zeros(1, 1, 9, 9)
    mask[..., 2:7, 2:7] = 1
    assert int(rims(mask).sum()) == 16


def test_a_sheet_shows_union_rims_and_whose_each_pixel_is() -> None:
    masks = torch.zeros(2, 36, 36)
    masks[0, 6:18, 3:15] = 1
    masks[1, 24:30, 21:33] = 1
    sheet = mask_sheet(masks)
    assert sheet.shape == (4, 12, 12)
    assert float(sheet[0].sum()) * 9 == pytest.approx(12 * 12 + 6 * 12)
    assert float(sheet[1].sum()) * 9 == pytest.approx(4 * 11 + 2 * (12 + 4))
    # In quarters of 36 pixels: the first column of 3 pixels of a mask 12 wide is 4.5 left of its centre.
    assert float(sheet[2, 3, 1]) == pytest.approx(-4.5 / 9)
    assert float(sheet[3, 8, 7]) == pytest.approx(-1.5 / 9)
    assert not sheet[:, masks.amax(0)[1::3, 1::3] == 0].any()
    assert not mask_sheet(torch.zeros(0, 36, 36)).any()


def test_a_sheet_tells_one_mask_over_two_objects_from_two_masks() -> None:
    apart = torch.zeros(2, 36, 36)
    apart[0, 3:12, 3:12] = 1
    apart[1, 24:33, 24:33] = 1
    two, one = mask_sheet(apart), mask_sheet(apart.amax(0)[None])
    assert torch.equal(two[:2], one[:2])
    assert float(two[2:].abs().max()) <= 4.5 / 9 < 9 / 9 <= float(one[2:].abs().max())


def test_where_masks_overlap_a_sheet_shows_the_smallest() -> None:
    masks = torch.zeros(2, 36, 36)
    masks[0] = 1
    masks[1, 0:6, 0:6] = 1
    for order in (masks, masks.flip(0)):
        assert float(mask_sheet(order)[2, 0, 0]) == pytest.approx(-1.5 / 9)


def test_a_written_phrase_is_not_written_again() -> None:
    state = Written(phrases=[((5, 6, 7), -0.1)], current=[5, 6])
    assert state.banned() == [7]
    state.current = [5, 9]
    assert state.banned() == []
    state.current = [5]
    assert state.banned() == []


def test_the_proposers_language() -> None:
    assert write(["red bus", "cat"], ["blue bus"]) == "red bus <sep> cat <not> blue bus"
    assert confused_with("red striped bus", ["blue plain cat", "red plain bus"]) == "red plain bus"
    assert confused_with("dog", ["cat"]) == ""
    assert confused_with("dog", []) == ""


def test_the_tokenizer_ends_with_the_highest_number() -> None:
    tokenizer = word_tokenizer(["red", "bus"], specials=["<sep>"])
    ids = tokenizer(["Red bus", "red zebra <sep> bus"])["input_ids"]
    assert all(row[-1] == max(row) == tokenizer.eos_token_id for row in ids)
    assert tokenizer.unk_token_id in ids[1]
    with pytest.raises(ValueError, match="twice"):
        word_tokenizer(["red", "red"])


def test_the_bundled_weights_are_under_25_megabytes_together() -> None:
    weights = sorted((Path(__file__).parents[2] / "model_repository").glob("*/1/*.safetensors"))
    assert len(weights) == 5
    assert sum(file.stat().st_size for file in weights) < 25_000_000
