"""Masks, overlays and scores of single files, for people who want to look."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from imdl_bench import catalog, records
from imdl_bench.batching import predict_each
from imdl_bench.cache import write_atomically
from imdl_bench.errors import ImageError, UsageError
from imdl_bench.images import read_image
from imdl_bench.planning import ModelSpec
from imdl_bench.types import Image, Prediction

OVERLAY_SIDE = 1600


def predict_files(
    model: str, images: Sequence[Path], out: Path, *, device: str = "cpu", seed: int = 0
) -> Iterator[tuple[Path, Path | str]]:
    """Predict each file and write ``NAME.mask.png``, ``NAME.overlay.png`` and ``NAME.json`` to ``out``.

    Yields per file the JSON's path, or the reason why there is none. NAME is the file's name without suffix, with the
    suffix where two files would collide, and numbered where they still do.

    Raises:
        UsageError: no such model or weights, or a model that takes pairs.
    """
    spec = ModelSpec.parse(model)
    card = catalog.model_card(spec.name)
    if card.input == "pair":
        raise UsageError(f"{spec.name} takes pairs of images; predict takes one image at a time")
    predict = catalog.load_model(spec.name, spec.weights, device=device, seed=seed).predict
    out.mkdir(parents=True, exist_ok=True)
    for path, name in zip(images, output_names(images), strict=True):
        try:
            image = read_image(path)
        except ImageError as error:
            yield path, str(error).removeprefix(f"{path}: ")
            continue
        prediction = predict_each(predict, [image], outputs=card.outputs)[0]
        if isinstance(prediction, str):
            yield path, prediction
            continue
        settings = {"model": str(spec), "device": device if card.weights else "cpu", "seed": seed}
        yield path, _write(out / name, path, image, prediction, settings | records.pixel_libraries())


def output_names(images: Sequence[Path]) -> list[str]:
    """A distinct output name per file."""
    stems = Counter(path.stem for path in images)
    names: dict[str, None] = {}
    for path in images:
        wanted = path.stem if stems[path.stem] == 1 else path.name
        number, name = 1, wanted
        while name in names:
            number += 1
            name = f"{wanted}.{number}"
        names[name] = None
    return list(names)


def overlay(image: Image, mask: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The photograph in grey with the mask over it, from clear over orange to red. uint8 (H, W, 3).

    Full red is the mask's greatest value; of a map that stays below 0.5 (the classical ones have no natural scale) it
    is the 99.5 % quantile, so that a few bright pixels do not hide the rest.
    """
    grey = image.mean(axis=2, dtype=np.float32)[..., None] * 0.75
    top = float(mask.max())
    scale = top if top >= 0.5 else float(np.quantile(mask, 0.995)) or top
    strength = np.minimum(mask / max(scale, 1e-12), 1)[..., None]
    colour = np.concatenate([np.full_like(grey, 255), 200 * (1 - strength), np.zeros_like(grey)], axis=2)
    shown: NDArray[np.uint8] = np.rint(grey * (1 - 0.8 * strength) + colour * 0.8 * strength).astype(np.uint8)
    return shown


def _write(place: Path, path: Path, image: Image, prediction: Prediction, settings: dict[str, object]) -> Path:
    about: dict[str, object] = {"image": str(path), "height": image.shape[0], "width": image.shape[1]}
    about["score"] = prediction.score
    if prediction.mask is not None:
        mask = prediction.mask
        about |= {"mask_mean": float(mask.mean(dtype=np.float64)), "mask_max": float(mask.max())}
        about["mask"], about["overlay"] = f"{place.name}.mask.png", f"{place.name}.overlay.png"
        write_atomically(place.with_name(f"{place.name}.mask.png"), _png(np.rint(mask * 65535.0).astype(np.uint16)))
        step = max(1, -(-max(mask.shape) // OVERLAY_SIDE))
        shown = overlay(Image(image[::step, ::step]), mask[::step, ::step])
        write_atomically(place.with_name(f"{place.name}.overlay.png"), _png(shown))
    written = place.with_name(f"{place.name}.json")
    write_atomically(written, (json.dumps(about | {"settings": settings}, indent=1) + "\n").encode())
    return written


def _png(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
