"""Scenes as a data set on disk: PNG images with their truth as COCO and as SA-Co JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from services.scenes.ontology import ontology
from services.scenes.phrases import hard_negatives, phrases
from services.scenes.scene import Scene, make_scene
from services.scenes.settings import SceneSettings

Json = dict[str, Any]


def _rle(scene: Scene, index: int) -> Json:
    encoded = coco_mask.encode(np.asfortranarray(scene.mask(index).astype(np.uint8)))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode("ascii")}


def saco_entries(
    scene: Scene, file_name: str, first_image: int, first_annotation: int, negatives: int
) -> tuple[list[Json], list[Json]]:
    """The scene's SA-Co entries: an image entry a (image, phrase) pair, hard negatives as entries without
    annotations.

    Boxes are xywh and areas, both normalised by the image's size.
    """
    height, width = scene.ids.shape
    present = phrases(scene)
    absent = hard_negatives(scene, negatives)
    images: list[Json] = []
    annotations: list[Json] = []
    for offset, phrase in enumerate([*present, *absent]):
        image_id = first_image + offset
        images.append(
            {
                "id": image_id,
                "file_name": file_name,
                "width": width,
                "height": height,
                "text_input": phrase,
                "is_instance_exhaustive": 1,
                "is_pixel_exhaustive": 1,
            }
        )
        for index in present.get(phrase, []):
            instance = scene.instances[index]
            x, y, w, h = instance.box
            annotations.append(
                {
                    "id": first_annotation + len(annotations),
                    "image_id": image_id,
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": [x / width, y / height, w / width, h / height],
                    "area": instance.area / (width * height),
                    "segmentation": _rle(scene, index),
                    "source": "scenes",
                }
            )
    return images, annotations


def write_dataset(
    n: int, out: Path, seed: int = 0, settings: SceneSettings | None = None, negatives: int = 10
) -> Path:
    """Write `n` scenes of seeds `seed`.. to `out`: images/*.png, coco.json (category = kind), saco.json;
    returns `out`. Scenes that an earlier call left there go.
    """
    settings = settings or SceneSettings()
    (out / "images").mkdir(parents=True, exist_ok=True)
    for left in (out / "images").glob("scene-*.png"):
        left.unlink()
    kinds = ontology().kinds
    coco: Json = {
        "images": [],
        "annotations": [],
        "categories": [
            {"id": i + 1, "name": kind, "supercategory": ontology().hypernyms[kind][0]}
            for i, kind in enumerate(kinds)
        ],
    }
    saco: Json = {
        "info": {"description": "drawn scenes", "seed": seed},
        "images": [],
        "annotations": [],
        "categories": [{"id": 1, "name": "object"}],
    }
    for index in range(n):
        scene = make_scene(seed + index, settings)
        name = f"scene-{seed + index:08d}.png"
        Image.fromarray(scene.image).save(out / "images" / name, compress_level=1)
        coco["images"].append(
            {"id": index + 1, "file_name": name, "width": settings.width, "height": settings.height}
        )
        for number, instance in enumerate(scene.instances):
            coco["annotations"].append(
                {
                    "id": len(coco["annotations"]) + 1,
                    "image_id": index + 1,
                    "iscrowd": 0,
                    "category_id": kinds.index(instance.kind) + 1,
                    "bbox": list(instance.box),
                    "area": instance.area,
                    "segmentation": _rle(scene, number),
                    "attributes": {"colour": instance.colour, "pattern": instance.pattern},
                }
            )
        images, annotations = saco_entries(
            scene, name, len(saco["images"]) + 1, len(saco["annotations"]) + 1, negatives
        )
        saco["images"] += images
        saco["annotations"] += annotations
    (out / "coco.json").write_text(json.dumps(coco), "utf-8")
    (out / "saco.json").write_text(json.dumps(saco), "utf-8")
    return out
