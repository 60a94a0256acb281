"""SA-Co JSON, read and written; COCO results (a bare list of scored masks), read.

One `images` entry for each (image, phrase) pair, a negative has no annotations; boxes xywh and areas are
normalised by the image's size, masks are COCO RLE at that size. Source: the annotation section of SAM 3's
SA-Co/Gold benchmark. Only masks are judged, so a reader looks at neither boxes nor areas. Categories mean
nothing in this format and are not looked at either.

Beyond the format: an annotation may carry a `score`, and an `images` entry a `tercet` object as Tercet's
exports have it, of which `image_id`, `presence`, `score` (the pair's quality) and `tier` are read. Where a
person decided (tier gold or silver), presence and score tell what models thought before: they are left out.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any

from pycocotools import mask as coco

from services.core import masks
from services.core.errors import InvalidInput
from services.core.evaluation.pairs import Instance, Pair, PairId, PairSet, Results

Json = dict[str, Any]

_FIRST_ANNOTATION = 1
_MOST_PIXELS = 2**32 - 1
"""Of a mask: pycocotools counts its runs in 32 bits."""
_ROUNDING = 1e-6
"""How far above 1 a probability may lie that was a float32 once."""


def loads(text: str | bytes, name: str) -> PairSet | Results:
    """Parse a file's content; `name` is for messages. Raises `InvalidInput` naming what is wrong where."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{name} is not JSON: {error}") from None
    return parse(document, name)


def parse(document: object, name: str) -> PairSet | Results:
    """SA-Co (an object) or COCO results (an array), decoded. Raises `InvalidInput` as `loads` does."""
    if isinstance(document, list):
        return _results(document, name)
    if not isinstance(document, dict):
        raise InvalidInput(f"{name} holds neither an SA-Co object nor an array of COCO results")
    for section in ("images", "annotations"):
        if not isinstance(document.get(section), list):
            raise InvalidInput(f"{name} has no list `{section}`; it is not SA-Co JSON")
    if not document["images"]:
        raise InvalidInput(f"{name} has no pairs: `images` is empty")
    pairs = [_pair(entry, f"{name}, images[{i}]") for i, entry in enumerate(document["images"])]
    by_id = {pair.id: pair for pair in pairs}
    if len(by_id) < len(pairs):
        twice = Counter(pair.id for pair in pairs).most_common(1)[0][0]
        raise InvalidInput(f"{name} has the id {twice!r} twice; every pair needs its own")
    instances: dict[PairId, list[Instance]] = defaultdict(list)
    for i, listed in enumerate(document["annotations"]):
        where = f"{name}, annotations[{i}]"
        entry = _object(listed, where)
        pair_id = _id(entry, "image_id", where)
        if pair_id not in by_id:
            raise InvalidInput(f"{where} is of image_id {pair_id!r}, which `images` does not have")
        instance, size = _instance(entry, where)
        pair = by_id[pair_id]
        check_size(instance, size, (pair.height, pair.width), where)
        instances[pair_id].append(instance)
    return PairSet(name, tuple(replace(pair, instances=tuple(instances[pair.id])) for pair in pairs))


def check_size(instance: Instance, size: tuple[int, int], needed: tuple[int, int], where: str) -> None:
    """Raises `InvalidInput` unless the mask is of the needed (height, width) and its runs fill it."""
    if size != needed:
        raise InvalidInput(
            f"{where}: the mask is {size[1]} x {size[0]}, its image is {needed[1]} x {needed[0]} pixels"
        )
    try:
        masks.check(instance.counts, *size)
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}") from None


def document(pair_set: PairSet) -> Json:
    """The pairs as an SA-Co document; what `parse` reads back unchanged.

    Annotations count from 1. `score`, and `tercet` with presence and score, appear where they are stated.
    """
    images: list[Json] = []
    annotations: list[Json] = []
    for pair in pair_set.pairs:
        images.append(_image_entry(pair))
        for instance in pair.instances:
            number = _FIRST_ANNOTATION + len(annotations)
            annotations.append(_annotation_entry(pair, instance, number))
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "object"}],
    }


def dumps(pair_set: PairSet) -> str:
    """`document` as JSON text."""
    return json.dumps(document(pair_set), ensure_ascii=False)


def _image_entry(pair: Pair) -> Json:
    entry: Json = {
        "id": pair.id,
        "file_name": pair.file_name,
        "text_input": pair.phrase,
        "height": pair.height,
        "width": pair.width,
    }
    if pair.exhaustive is not None:
        entry["is_instance_exhaustive"] = entry["is_pixel_exhaustive"] = int(pair.exhaustive)
    stated = {"image_id": pair.image_id or None, "presence": pair.presence, "score": pair.quality}
    about = {key: value for key, value in stated.items() if value is not None}
    return {**entry, "tercet": about} if about else entry


def _annotation_entry(pair: Pair, instance: Instance, number: int) -> Json:
    height, width = pair.height, pair.width
    x, y, w, h = masks.box(instance.counts, height, width)
    entry: Json = {
        "id": number,
        "image_id": pair.id,
        "category_id": 1,
        "bbox": [x / width, y / height, w / width, h / height],
        "area": masks.area(instance.counts, height, width) / (height * width),
        "segmentation": {"counts": instance.counts.decode("ascii"), "size": [height, width]},
        "iscrowd": int(instance.crowd),
    }
    return entry if instance.score is None else {**entry, "score": instance.score}


def _results(entries: list[object], name: str) -> Results:
    instances: dict[PairId, list[tuple[Instance, tuple[int, int]]]] = defaultdict(list)
    for i, listed in enumerate(entries):
        where = f"{name}, [{i}]"
        entry = _object(listed, where)
        pair_id = _id(entry, "image_id", where)
        instance, size = _instance(entry, where)
        if instance.score is None:
            raise InvalidInput(f"{where} has no `score`; COCO results need one for each mask")
        instances[pair_id].append((instance, size))
    return Results(name, {pair_id: tuple(found) for pair_id, found in instances.items()})


def _pair(listed: object, where: str) -> Pair:
    entry = _object(listed, where)
    pair_id = _id(entry, "id", where)
    phrase = entry.get("text_input")
    if not isinstance(phrase, str) or not phrase.strip():
        raise InvalidInput(f"{where} has no phrase in `text_input`")
    file_name = entry.get("file_name")
    if not isinstance(file_name, str) or not file_name:
        raise InvalidInput(f"{where} has no `file_name`")
    about = entry.get("tercet")
    about = about if isinstance(about, dict) else {}
    by_models = about.get("tier") not in ("gold", "silver")
    image_id = about.get("image_id")
    return Pair(
        id=pair_id,
        file_name=file_name,
        phrase=phrase,
        height=_side(entry, "height", where),
        width=_side(entry, "width", where),
        exhaustive=_flag(entry, "is_instance_exhaustive", where),
        presence=_probability(about, "presence", where) if by_models else None,
        quality=_probability(about, "score", where) if by_models else None,
        image_id=image_id if isinstance(image_id, str) else "",
    )


def _instance(entry: Json, where: str) -> tuple[Instance, tuple[int, int]]:
    """The mask of an annotation and the (height, width) that its RLE claims."""
    rle = entry.get("segmentation")
    if not isinstance(rle, dict):
        kind = "a polygon; write it as RLE" if isinstance(rle, list) else "no mask"
        raise InvalidInput(f"{where} has {kind} in `segmentation`: size and counts are needed")
    size = rle.get("size")
    if not (isinstance(size, list) and len(size) == 2 and all(_is_whole(v) and v > 0 for v in size)):
        raise InvalidInput(f"{where}: the mask's `size` must be [height, width], not {size!r}")
    if size[0] * size[1] > _MOST_PIXELS:
        raise InvalidInput(f"{where}: the mask's `size` {size!r} is more than COCO run lengths can tell")
    instance = Instance(
        counts=_counts(rle.get("counts"), size, where),
        score=_probability(entry, "score", where),
        crowd=bool(_flag(entry, "iscrowd", where)),
    )
    return instance, (size[0], size[1])


def _counts(counts: object, size: list[int], where: str) -> bytes:
    if isinstance(counts, str) and counts.isascii():
        return counts.encode("ascii")
    if isinstance(counts, list) and all(_is_whole(run) and run >= 0 for run in counts):
        if sum(counts) != size[0] * size[1]:
            raise InvalidInput(
                f"{where}: the mask's runs sum to {sum(counts)}, not {size[0] * size[1]} pixels"
            )
        return bytes(coco.frPyObjects({"size": size, "counts": counts}, size[0], size[1])["counts"])
    raise InvalidInput(f"{where}: the mask's `counts` must be COCO run lengths, as a string or a list")


def _object(entry: object, where: str) -> Json:
    if not isinstance(entry, dict):
        raise InvalidInput(f"{where} is not an object")
    return entry


def _id(entry: Json, key: str, where: str) -> PairId:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InvalidInput(f"{where} has no `{key}`" if value is None else f"{where}: `{key}` is {value!r}")
    return value


def _side(entry: Json, key: str, where: str) -> int:
    value = entry.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise InvalidInput(f"{where}: `{key}` must be a number of pixels, not {value!r}")
    return value


def _flag(entry: Json, key: str, where: str) -> bool | None:
    value = entry.get(key)
    if value is None or value in (0, 1):
        return None if value is None else bool(value)
    raise InvalidInput(f"{where}: `{key}` must be 0 or 1, not {value!r}")


def _probability(entry: Json, key: str, where: str) -> float | None:
    value = entry.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidInput(f"{where}: `{key}` must be a number in 0..1, not {value!r}")
    if not -_ROUNDING <= value <= 1 + _ROUNDING:
        raise InvalidInput(f"{where}: `{key}` is {value}; scores are probabilities, 0..1")
    return min(max(float(value), 0.0), 1.0)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
