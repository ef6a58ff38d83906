"""Masks, overlays and scores of single files, for people who want to look."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imdl_bench import catalog, records
from imdl_bench.batching import predict_each
from imdl_bench.cache import write_atomically
from imdl_bench.errors import ImageError, UsageError
from imdl_bench.images import encode_png, read_image
from imdl_bench.types import Image, Prediction

OVERLAY_SIDE = 1600


def predict_files(
    model: str,
    images: Sequence[Path],
    out: Path,
    *,
    donors: Sequence[Path] = (),
    device: str = "cpu",
    precision: str = "float32",
    compile: bool = False,
    seed: int = 0,
    accept_licence: bool = False,
) -> Iterator[tuple[Path, Path | str]]:
    """Predict each file and write ``NAME.mask.png``, ``NAME.overlay.png`` and ``NAME.json`` to ``out``.

    Of a pair model, the second images are ``donors``, one for each image, and ``NAME.donor_mask.png`` and
    ``NAME.donor_overlay.png`` are written too.

    Yields per file the JSON's path, or the reason why there is none. NAME is the file's name without suffix, with the
    suffix where two files would collide, and numbered where they still do.

    Raises:
        UsageError: no such model, settings or weights, or not one donor for each image of a pair model.
    """
    spec, card = catalog.read_spec(model)
    if card.input == "pair" and len(donors) != len(images):
        raise UsageError(f"{spec.name} takes pairs: {len(images)} images need as many donors, {len(donors)} are given")
    if card.input == "single" and donors:
        raise UsageError(f"{spec.name} takes one image at a time, no donors")
    weights = catalog.spec_weights(spec, card, seed=seed, accept_licence=accept_licence)
    settings: dict[str, object] = {"model": spec.model, **records.pixel_libraries()}
    if weights is not None:
        settings |= {"weights": weights.label, "weights_content": weights.identity, "trained_on": weights.trained_on}
        settings |= {"untrained": weights.untrained, "device": device, "precision": precision, "compiled": compile}
    predict = catalog.load_model(
        spec.name, weights, device=device, precision=precision, settings=dict(spec.settings), compile=compile
    ).predict
    _refuse_overwriting(out, images, donors)
    out.mkdir(parents=True, exist_ok=True)
    for place, (path, name) in enumerate(zip(images, output_names(images), strict=True)):
        try:
            inputs = [read_image(file) for file in (path, *donors[place : place + 1])]
        except ImageError as error:
            yield path, str(error).removeprefix(f"{path}: ")
            continue
        prediction = predict_each(predict, *([image] for image in inputs), outputs=card.outputs)[0]
        if isinstance(prediction, str):
            yield path, prediction
            continue
        yield path, _write(out / name, inputs, prediction, settings)


def _refuse_overwriting(out: Path, images: Sequence[Path], donors: Sequence[Path]) -> None:
    kinds = ("mask.png", "overlay.png", "json", "donor_mask.png", "donor_overlay.png")
    written = {(out / f"{name}.{kind}").resolve() for name in output_names(images) for kind in kinds}
    for path in (*images, *donors):
        if path.resolve() in written:
            raise UsageError(f"{path}: would be overwritten; give another --out")


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


def _write(place: Path, images: Sequence[Image], prediction: Prediction, settings: dict[str, object]) -> Path:
    about: dict[str, object] = _about(images[0]) | {"score": prediction.score}
    if prediction.mask is not None:
        about |= _write_mask(place, "", images[0], prediction.mask)
    if prediction.donor_mask is not None:
        about["donor"] = _about(images[1]) | _write_mask(place, "donor_", images[1], prediction.donor_mask)
    written = place.with_name(f"{place.name}.json")
    write_atomically(written, (json.dumps(about | {"settings": settings}, indent=1) + "\n").encode())
    return written


def _about(image: Image) -> dict[str, object]:
    return {"image": str(image.path), "height": image.shape[0], "width": image.shape[1]}


def _write_mask(place: Path, role: str, image: Image, mask: NDArray[np.float32]) -> dict[str, object]:
    files = {kind: place.with_name(f"{place.name}.{role}{kind}.png") for kind in ("mask", "overlay")}
    write_atomically(files["mask"], encode_png(np.rint(mask * 65535.0).astype(np.uint16)))
    step = max(1, -(-max(mask.shape) // OVERLAY_SIDE))
    shown = overlay(Image(image[::step, ::step]), mask[::step, ::step])
    write_atomically(files["overlay"], encode_png(shown))
    means = {"mask_mean": float(mask.mean(dtype=np.float64)), "mask_max": float(mask.max())}
    return means | {kind: file.name for kind, file in files.items()}
