"""Transforms of albumentations 2 by name. It is imported here alone, when a protocol asks for it: it takes seconds."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from imdl_bench.errors import ImageError, UsageError, nearest
from imdl_bench.geometry import Distorted, Truth
from imdl_bench.images import as_image


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a transform: its ``name``, then the others, sorted, without a ``p`` of 1, which is our default.

    Raises:
        UsageError: albumentations is missing, or has no such transform of single images, or refuses the parameters.
    """
    others = {key: given[key] for key in sorted(given) if key != "name" and (key, given[key]) != ("p", 1)}
    values = {"name": given.get("name"), **others}
    _transform(values)
    return values


def apply(picture: Distorted, rng: np.random.Generator, **values: Any) -> Distorted:
    """One image through a transform. One that can move pixels takes the truth along, at the size of the image it gets.

    Raises:
        ImageError: the transform fails on this image.
        UsageError: it gives something else than uint8 RGB, or treats an image with a mask unlike one without.
    """
    albumentations = _albumentations()
    pixels, seed, name = np.asarray(picture.image), int(rng.integers(2**32)), values["name"]

    def run(**targets: Any) -> dict[str, Any]:
        # Made anew each time: with the same seed it does to the truth what it did to the image.
        compose = albumentations.Compose([_transform(values)], seed=seed)
        try:
            return dict(compose(image=pixels, **targets))
        except Exception as error:
            raise ImageError(f"failed on {pixels.shape[1]}x{pixels.shape[0]} pixels: {error}") from error

    try:
        distorted = np.asarray(as_image(run()["image"]))
    except UsageError as error:
        raise UsageError(f"albumentations {name} cannot be used: {error}") from None

    def move(truth: Truth) -> Truth:
        both = run(mask=truth.view(np.uint8))
        if not np.array_equal(both["image"], distorted):
            raise UsageError(f"albumentations {name} cannot be used: it looks at the mask")
        return np.asarray(both["mask"] > 0)

    if isinstance(_transform(values), albumentations.DualTransform):
        return picture.moved(distorted, move)
    return picture.with_pixels(distorted)


def _transform(values: Mapping[str, Any]) -> Any:
    known = _single_image_transforms()
    name, given = values["name"], {key: value for key, value in values.items() if key != "name"}
    if not isinstance(name, str) or name not in known:
        raise UsageError(f"no transform {name!r}{nearest(str(name), known)}")
    parameters = [parameter for parameter in inspect.signature(known[name]).parameters if parameter != "strict"]
    for key in given:
        if key not in parameters:
            raise UsageError(f"{name}: unknown parameter {key!r}{nearest(str(key), parameters)}")
    try:
        transform = known[name](**{"p": 1} | given)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{name}: {error}") from None
    if transform.targets_as_params:
        raise UsageError(f"{name} needs more than an image: {', '.join(transform.targets_as_params)}")
    return transform


def _single_image_transforms() -> dict[str, Any]:
    albumentations = _albumentations()
    bases = (albumentations.ImageOnlyTransform, albumentations.DualTransform)
    return {
        name: kind
        for name, kind in vars(albumentations).items()
        if isinstance(kind, type)
        and issubclass(kind, bases)
        and not issubclass(kind, albumentations.Transform3D)
        and kind not in bases
    }


def _albumentations() -> ModuleType:
    # Without this, albumentations looks up the network when it is imported.
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    try:
        return importlib.import_module("albumentations")
    except ImportError:
        raise UsageError('albumentations is not installed: pip install "albumentations>=2.0.8,<3"') from None
