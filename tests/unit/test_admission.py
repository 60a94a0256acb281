"""Admission over images that Pillow makes: every kind that is kept, converted or refused."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.ExifTags import Base as Exif

from gateway.admission import Admitted, Limits, admit
from services.core.errors import InvalidImage

LIMITS = Limits(bytes=1_000_000, pixels=100_000, side=1_000)


def picture(width: int = 40, height: int = 24) -> Image.Image:
    """Four coloured quarters, so that a turn of the picture shows."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[: height // 2, : width // 2] = (250, 10, 10)
    pixels[: height // 2, width // 2 :] = (10, 250, 10)
    pixels[height // 2 :, : width // 2] = (10, 10, 250)
    pixels[height // 2 :, width // 2 :] = (240, 240, 20)
    return Image.fromarray(pixels)


def encode(image: Image.Image, format_: str, **options: object) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, format=format_, **options)
    return encoded.getvalue()


def decoded(admitted: Admitted) -> NDArray[np.uint8]:
    """What the models will see: int arrays [H, W, 3]."""
    with Image.open(io.BytesIO(admitted.content)) as image:
        assert image.mode == "RGB"
        assert image.getexif().get(Exif.Orientation, 1) == 1
        assert image.size == (admitted.width, admitted.height)
        assert Image.MIME[str(image.format)] == admitted.media_type
        return np.asarray(image)


def refusal(content: bytes, limits: Limits = LIMITS) -> InvalidImage:
    with pytest.raises(InvalidImage) as raised:
        admit(content, limits)
    assert str(raised.value)
    return raised.value


class TestKept:
    @pytest.mark.parametrize(
        ("format_", "media_type", "options"),
        [
            ("JPEG", "image/jpeg", {}),
            ("JPEG", "image/jpeg", {"progressive": True}),
            ("PNG", "image/png", {}),
            ("WEBP", "image/webp", {}),
            ("WEBP", "image/webp", {"lossless": True}),
        ],
    )
    def test_upright_rgb_keeps_its_bytes(
        self, format_: str, media_type: str, options: dict[str, object]
    ) -> None:
        content = encode(picture(), format_, **options)
        admitted = admit(content, LIMITS)
        assert admitted == Admitted(hashlib.sha256(content).hexdigest(), content, media_type, 40, 24)

    def test_at_the_limits_is_within_them(self) -> None:
        content = encode(picture(40, 24), "PNG")
        assert admit(content, Limits(bytes=len(content), pixels=960, side=40)).width == 40


class TestConverted:
    @pytest.mark.parametrize("format_", ["BMP", "TIFF"])
    def test_lossless_formats_keep_their_pixels(self, format_: str) -> None:
        content = encode(picture(), format_)
        admitted = admit(content, LIMITS)
        assert admitted.media_type == "image/png"
        assert admitted.id == hashlib.sha256(content).hexdigest()
        assert np.array_equal(decoded(admitted), np.asarray(picture()))

    def test_gif_and_avif_are_taken(self) -> None:
        for format_, far in (("GIF", 2), ("AVIF", 60)):
            difference = decoded(admit(encode(picture(), format_), LIMITS)).astype(int) - np.asarray(
                picture()
            )
            assert np.abs(difference).mean() < far, format_

    @pytest.mark.parametrize("orientation", range(2, 9))
    @pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF"])
    def test_orientation_is_applied(self, format_: str, orientation: int) -> None:
        # How a camera's pixels are turned to be seen upright (Exif 2.32, tag 274).
        turns = {
            2: Image.Transpose.FLIP_LEFT_RIGHT,
            3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_270,
            7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_90,
        }
        exif = Image.Exif()
        exif[Exif.Orientation] = orientation
        options: dict[str, object] = {"quality": 100} if format_ == "JPEG" else {}
        if format_ == "WEBP":
            options = {"lossless": True}
        admitted = admit(encode(picture(), format_, exif=exif, **options), LIMITS)
        upright = picture().transpose(turns[orientation])
        assert (admitted.width, admitted.height) == upright.size
        difference = np.abs(decoded(admitted).astype(int) - np.asarray(upright)).mean()
        assert difference < (8 if format_ == "JPEG" else 0.01)

    def test_sixteen_bit_grey_is_scaled_not_clipped(self) -> None:
        grey = np.linspace(0, 65535, 40 * 24).astype(np.uint16).reshape(24, 40)
        for format_ in ("PNG", "TIFF"):
            pixels = decoded(admit(encode(Image.fromarray(grey), format_), LIMITS))
            expected = np.rint(grey / 257.0).astype(int)
            assert np.abs(pixels[..., 0].astype(int) - expected).max() <= 1, format_
            assert np.array_equal(pixels[..., 0], pixels[..., 2])

    def test_sixteen_bit_rgb_png_becomes_eight(self) -> None:
        rows = b"".join(b"\x00" + struct.pack(">HHH", 0xFFFF, 0x8000, 0x0100) * 10 for _ in range(8))

        def chunk(kind: bytes, body: bytes) -> bytes:
            return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

        header = struct.pack(">IIBBBBB", 10, 8, 16, 2, 0, 0, 0)
        content = (
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", header)
            + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b"")
        )
        admitted = admit(content, LIMITS)
        assert admitted.content[24] == 8
        assert np.abs(decoded(admitted)[0, 0].astype(int) - (255, 128, 1)).max() <= 1

    def test_palette_bilevel_and_grey(self) -> None:
        palette = picture().convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
        assert np.array_equal(decoded(admit(encode(palette, "PNG"), LIMITS)), np.asarray(picture()))
        bilevel = Image.new("1", (8, 8), 1)
        assert decoded(admit(encode(bilevel, "PNG"), LIMITS)).min() == 255
        grey = Image.new("L", (8, 8), 77)
        for format_ in ("PNG", "JPEG", "BMP", "TIFF"):
            assert np.abs(decoded(admit(encode(grey, format_), LIMITS)).astype(int) - 77).max() <= 1, format_

    def test_alpha_is_laid_on_white(self) -> None:
        see_through = Image.new("RGBA", (8, 8), (200, 0, 0, 0))
        half = Image.new("RGBA", (8, 8), (0, 0, 0, 128))
        grey = Image.new("LA", (8, 8), (0, 0))
        for format_ in ("PNG", "TIFF"):
            assert decoded(admit(encode(see_through, format_), LIMITS)).min() == 255
            assert np.abs(decoded(admit(encode(half, format_), LIMITS)).astype(int) - 127).max() <= 1
        assert decoded(admit(encode(grey, "PNG"), LIMITS)).min() == 255
        lossless = encode(half, "WEBP", lossless=True)
        assert np.abs(decoded(admit(lossless, LIMITS)).astype(int) - 127).max() <= 1

    def test_a_transparent_colour_is_white(self) -> None:
        keyed = encode(Image.new("RGB", (8, 8), (1, 2, 3)), "PNG", transparency=(1, 2, 3))
        assert decoded(admit(keyed, LIMITS)).min() == 255
        palette = Image.new("P", (8, 8), 0)
        palette.putpalette([9, 9, 9] * 256)
        assert decoded(admit(encode(palette, "GIF", transparency=0), LIMITS)).min() == 255

    @pytest.mark.parametrize("format_", ["JPEG", "TIFF"])
    def test_cmyk_is_not_inverted(self, format_: str) -> None:
        cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
        red = decoded(admit(encode(cmyk, format_), LIMITS))[4, 4]
        assert red[0] > 200
        assert red[1] < 60
        assert red[2] < 60

    def test_cmyk_with_a_broken_profile_falls_back(self) -> None:
        cmyk = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
        content = encode(cmyk, "JPEG", icc_profile=b"no profile" * 20)
        cyan = decoded(admit(content, LIMITS))[4, 4]
        assert cyan[0] < 60 < cyan[1]

    def test_an_rgb_profile_goes_along_with_a_converted_picture(self) -> None:
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        admitted = admit(encode(picture(), "TIFF", icc_profile=profile), LIMITS)
        with Image.open(io.BytesIO(admitted.content)) as image:
            assert image.info["icc_profile"] == profile

    def test_of_a_multi_picture_file_the_first_is_taken(self) -> None:
        second = Image.new("RGB", (40, 24), "black")
        content = encode(picture(), "MPO", save_all=True, append_images=[second], quality=100)
        admitted = admit(content, LIMITS)
        assert admitted.media_type == "image/png"
        assert np.abs(decoded(admitted).astype(int) - np.asarray(picture())).mean() < 8


class TestRefused:
    def test_nothing(self) -> None:
        assert refusal(b"").code == "empty"

    @pytest.mark.parametrize(
        ("content", "what"),
        [
            (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
            (b"\xef\xbb\xbf\n  <svg onload='alert(1)'/>", "SVG"),
            (b"<!-- c --><svg/>", "SVG"),
            (b"<!DOCTYPE html><html></html>", "HTML"),
            (b"  <SCRIPT>alert(1)</SCRIPT>", "HTML"),
            (b"%PDF-1.7\n", "PDF"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"MZ\x90\x00", "program"),
            ("été".encode(), "text"),
            (bytes(range(1, 32)) * 3 + b"\xfe\x00", "no known"),
            (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "HEIC"),
            (b"\x00\x00\x00\x18ftypisom\x00\x00\x00\x00isomiso2", "video"),
        ],
    )
    def test_another_kind_whatever_it_is_called(self, content: bytes, what: str) -> None:
        error = refusal(content)
        assert error.code == "unsupported_type"
        assert what in str(error)

    def test_a_zip(self) -> None:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("a.txt", "a")
        assert "zip" in str(refusal(packed.getvalue()))

    @pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF"])
    @pytest.mark.parametrize("share", [0.5, 0.9])
    def test_a_file_that_ends_too_early(self, format_: str, share: float) -> None:
        noise = np.random.default_rng(7).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        content = encode(Image.fromarray(noise), format_)
        assert refusal(content[: int(len(content) * share)]).code in ("truncated", "corrupt")

    def test_truncation_is_called_by_its_name(self) -> None:
        noise = np.random.default_rng(7).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        for format_ in ("JPEG", "PNG", "BMP", "GIF"):
            content = encode(Image.fromarray(noise), format_)
            assert refusal(content[: len(content) // 2]).code == "truncated", format_

    def test_a_png_whose_checksum_is_wrong(self) -> None:
        content = bytearray(encode(picture(), "PNG"))
        content[content.index(b"IDAT") + 10] ^= 0xFF
        assert refusal(bytes(content)).code == "corrupt"

    @pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
    def test_only_a_beginning(self, format_: str) -> None:
        assert refusal(encode(picture(), format_)[:14]).code in ("truncated", "corrupt", "unsupported_type")

    @pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
    def test_more_than_one_frame(self, format_: str) -> None:
        frames = [picture(), picture().transpose(Image.Transpose.ROTATE_180)]
        content = encode(frames[0], format_, save_all=True, append_images=frames[1:])
        error = refusal(content)
        assert error.code == "multi_frame"
        assert "2 frames" in str(error)

    def test_too_many_pixels_by_the_header_alone(self) -> None:
        # A header for 60000 x 60000 pixels and not one pixel: were it decoded, it would be called truncated.
        content = bytearray(encode(picture(), "PNG"))
        content[16:24] = struct.pack(">II", 60_000, 60_000)
        content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
        assert refusal(bytes(content)).code == "too_many_pixels"
        assert refusal(encode(Image.new("L", (400, 300)), "PNG")).code == "too_many_pixels"

    def test_too_long_a_side(self) -> None:
        assert refusal(encode(Image.new("L", (1_001, 2)), "PNG")).code == "too_many_pixels"

    def test_too_many_bytes(self) -> None:
        content = encode(picture(), "PNG")
        assert (
            refusal(content, Limits(bytes=len(content) - 1, pixels=100_000, side=1_000)).code == "too_large"
        )

    def test_floating_point_and_32_bits(self) -> None:
        floats = Image.fromarray(np.linspace(0, 1, 64).reshape(8, 8).astype(np.float32))
        assert refusal(encode(floats, "TIFF")).code == "unsupported_depth"
        deep = Image.fromarray(np.full((8, 8), 1 << 20, dtype=np.int32))
        assert refusal(encode(deep, "TIFF")).code == "unsupported_depth"
