"""What happens to images between camera and detector: uint8 RGB -> uint8 RGB, the exact meaning of each in
``docs/distortions.md``.

A new one is a function, a row in :data:`DISTORTIONS`, a line in the docs and a golden. OpenCV is imported where it is
used: protocols are read without it.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from imdl_bench import from_albumentations
from imdl_bench.errors import ImageError, UsageError, nearest
from imdl_bench.geometry import Distorted, Truth
from imdl_bench.images import Subsampling, as_image, encode_jpeg, max_pixels, read_image, resize_nearest
from imdl_bench.types import Image

NONE = "none"
CHAIN = "chain"
FOREIGN = "albumentations"
LONGEST_WEBP_SIDE = 16_383
BAND_VALUES = 2**20
LEVELS = np.arange(256.0)

Pixels = NDArray[np.uint8]
Value = int | float | str
Interpolation = Literal["nearest", "linear", "cubic", "area", "lanczos4"]


def resize(rgb: Pixels, scale: float, interpolation: Interpolation) -> Pixels:
    """Both sides times ``scale``, rounded half up, at least 1. Raises ImageError above the limit of pixels."""
    height, width = rgb.shape[:2]
    return _resized(rgb, (_scaled(height, scale), _scaled(width, scale)), interpolation)


def downscale_upscale(rgb: Pixels, scale: float, interpolation: Interpolation) -> Pixels:
    """:func:`resize` and back to the original size, both with the same interpolation."""
    height, width = rgb.shape[:2]
    return _resized(resize(rgb, scale, interpolation), (height, width), interpolation)


def gaussian_blur(rgb: Pixels, kernel: int) -> Pixels:
    """``kernel`` x ``kernel``, sigma = 0.3 * ((kernel - 1) / 2 - 1) + 0.8, edges mirrored about the outermost pixel."""
    if kernel == 1:
        return rgb
    import cv2

    sigma = 0.3 * ((kernel - 1) * 0.5 - 1) + 0.8
    return np.asarray(cv2.GaussianBlur(rgb, (kernel, kernel), sigma, borderType=cv2.BORDER_REFLECT_101))


def gaussian_noise(rgb: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """Add independent normal values of standard deviation ``sigma`` grey levels, round to nearest even, clip."""
    if sigma == 0:
        return rgb
    noisy = np.empty(rgb.shape, np.uint8)
    # The generator gives the same numbers in bands as at once, without eight bytes for each of an image's values.
    band = max(1, BAND_VALUES // (rgb.shape[1] * rgb.shape[2]))
    for top in range(0, len(rgb), band):
        part = rgb[top : top + band]
        values = rng.standard_normal(part.shape)
        values *= sigma
        values += part
        noisy[top : top + band] = _to_uint8(values)
    return noisy


def jpeg(rgb: Pixels, quality: int, subsampling: Subsampling) -> Pixels:
    """Through libjpeg at ``quality``, standard tables. Raises ImageError for a side above 65,500."""
    return np.asarray(read_image(encode_jpeg(rgb, quality, subsampling)))


def double_jpeg(rgb: Pixels, first: int, second: int, subsampling: Subsampling) -> Pixels:
    """:func:`jpeg` at ``first``, then at ``second``, on the same grid of blocks."""
    return jpeg(jpeg(rgb, first, subsampling), second, subsampling)


def webp(rgb: Pixels, quality: int) -> Pixels:
    """Through libwebp's lossy coder at ``quality``, method 4. Raises ImageError for a side above 16,383."""
    height, width = rgb.shape[:2]
    if max(height, width) > LONGEST_WEBP_SIDE:
        raise ImageError(f"{width}x{height} does not fit into WebP: at most {LONGEST_WEBP_SIDE} pixels per side")
    buffer = io.BytesIO()
    PIL.Image.fromarray(rgb).save(buffer, "WEBP", quality=quality, method=4)
    return np.asarray(read_image(buffer.getvalue()))


def social(rgb: Pixels, side: int, quality: int) -> Pixels:
    """Downsize by area until the longest side is ``side``, as it is where it is not longer; then :func:`jpeg`."""
    height, width = rgb.shape[:2]
    ratio = min(Fraction(1), Fraction(side, max(height, width)))
    return jpeg(_resized(rgb, (_scaled(height, ratio), _scaled(width, ratio)), "area"), quality, "4:2:0")


def sharpen(rgb: Pixels, amount: float, kernel: int) -> Pixels:
    """Unsharp mask: the image plus ``amount`` times its difference from its :func:`gaussian_blur`."""
    if amount == 0:
        return rgb
    import cv2

    return np.asarray(cv2.addWeighted(rgb, 1 + amount, gaussian_blur(rgb, kernel), -amount, 0))


def contrast(rgb: Pixels, factor: float) -> Pixels:
    """Distances from the image's mean grey times ``factor``; grey is 0.299 R + 0.587 G + 0.114 B."""
    import cv2

    red, green, blue, _ = cv2.sumElems(rgb)
    grey = (0.299 * red + 0.587 * green + 0.114 * blue) / (rgb.shape[0] * rgb.shape[1])
    return _mapped(rgb, grey + factor * (LEVELS - grey))


def brightness(rgb: Pixels, shift: float) -> Pixels:
    """Add ``shift`` grey levels."""
    return _mapped(rgb, LEVELS + shift)


def gamma(rgb: Pixels, exponent: float) -> Pixels:
    """255 * (value / 255) ** ``exponent``: below 1 brightens."""
    return _mapped(rgb, 255 * (LEVELS / 255) ** exponent)


def median(rgb: Pixels, kernel: int) -> Pixels:
    """Median of ``kernel`` x ``kernel`` pixels per channel, the outermost pixels repeated."""
    if kernel == 1:
        return rgb
    import cv2

    return np.asarray(cv2.medianBlur(rgb, kernel))


def edge_smoothing(rgb: Pixels, truth: Truth, sigma: float, width: int) -> Pixels:
    """A Gaussian of ``sigma`` pixels, seen only within ``width`` pixels of the other side of the truth's edge."""
    import cv2

    if sigma == 0 or truth.all() or not truth.any():
        return rgb
    forged, pristine = (
        cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for side in (truth, ~truth)
    )
    band = forged + pristine <= width  # one of them is 0 everywhere
    kernel = 2 * math.ceil(3 * sigma) + 1
    blurred = cv2.GaussianBlur(rgb, (kernel, kernel), sigma, borderType=cv2.BORDER_REFLECT_101)
    return np.where(band[..., None], blurred, rgb)


def _scaled(side: int, scale: float | Fraction) -> int:
    """``side * scale`` rounded half up, at least 1; of the decimal that was written, not of its binary neighbour."""
    return max(1, math.floor(side * Fraction(str(scale)) + Fraction(1, 2)))


def _resized(rgb: Pixels, shape: tuple[int, int], interpolation: Interpolation) -> Pixels:
    if shape == rgb.shape[:2]:
        return rgb
    if shape[0] * shape[1] > max_pixels():
        raise ImageError(f"resized to {shape[1]}x{shape[0]}, which is above the limit of {max_pixels()} pixels")
    if interpolation == "nearest":  # OpenCV's takes the pixel left of the centre
        return resize_nearest(rgb, shape)
    import cv2

    methods = {
        "linear": cv2.INTER_LINEAR,
        "cubic": cv2.INTER_CUBIC,
        "area": cv2.INTER_AREA,
        "lanczos4": cv2.INTER_LANCZOS4,
    }
    return np.asarray(cv2.resize(rgb, shape[::-1], interpolation=methods[interpolation]))


def _mapped(rgb: Pixels, table: NDArray[np.float64]) -> Pixels:
    import cv2

    return np.asarray(cv2.LUT(rgb, _to_uint8(table)))


def _to_uint8(values: NDArray[np.float64]) -> Pixels:
    """Round to nearest, halves to even, and clip; works in place."""
    return np.clip(np.rint(values, out=values), 0, 255, out=values).astype(np.uint8)


def _on_pixels(function: Callable[..., Pixels]) -> Callable[..., Distorted]:
    def step(picture: Distorted, rng: np.random.Generator, **values: Value) -> Distorted:
        return picture.with_pixels(function(np.asarray(picture.image), **values))

    return step


def _noise(picture: Distorted, rng: np.random.Generator, sigma: float) -> Distorted:
    return picture.with_pixels(gaussian_noise(np.asarray(picture.image), sigma, rng))


def _edge_smoothing(
    picture: Distorted, rng: np.random.Generator, truth: Truth | None, sigma: float, width: int
) -> Distorted:
    if truth is None:
        raise ImageError("smooths around the edge of what is forged, and there is no truth for this forged image")
    return picture.with_pixels(edge_smoothing(np.asarray(picture.image), truth, sigma, width))


def _crop(picture: Distorted, rng: np.random.Generator, fraction: float, grid: int) -> Distorted:
    height, width = picture.image.shape[:2]
    kept = _scaled(height, fraction), _scaled(width, fraction)
    top = grid * int(rng.integers((height - kept[0]) // grid + 1))
    left = grid * int(rng.integers((width - kept[1]) // grid + 1))
    return picture.cropped(top, left, *kept)


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a parameter means and may be. Without a default it must be given."""

    about: str
    low: float = 0
    high: float = 0
    default: Value | None = None
    kind: Literal["number", "integer", "odd"] = "number"
    choices: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """In words, for errors and listings."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        return f"{'' if self.kind == 'number' else self.kind + ' '}{self.low:g}..{self.high:g}"

    def read(self, value: object) -> Value:
        """The value as int, float or str. Raises UsageError for any other and outside the range."""
        if self.choices:
            if value in self.choices:
                return str(value)
            # YAML takes an unquoted 4:2:0 for hours, minutes and seconds.
            hint = nearest(value, self.choices) if isinstance(value, str) else "; write it in quotes"
            raise UsageError(f"{value!r} is not {self.allowed}{hint}")
        number = float(value) if isinstance(value, int | float | np.number) else math.nan
        whole = number.is_integer() and (self.kind != "odd" or number % 2 == 1)
        fits = self.low <= number <= self.high and (whole or self.kind == "number")
        if not fits or isinstance(value, bool):
            raise UsageError(f"{value!r} is not {'a number ' if self.kind == 'number' else ''}{self.allowed}")
        return int(number) if whole else number


@dataclass(frozen=True, slots=True)
class DistortionRow:
    """One kind of distortion; ``function(picture, rng, **parameters)`` draws what is random from ``rng``.

    With ``needs_truth`` it is also given ``truth``: bool (h, w), of each pixel that it sees, or None where not known.
    """

    about: str
    parameters: dict[str, Parameter]
    function: Callable[..., Distorted]
    needs_truth: bool = False


_INTERPOLATION = Parameter("how pixels are made", default="linear",
                           choices=("nearest", "linear", "cubic", "area", "lanczos4"))  # fmt: skip
_SUBSAMPLING = Parameter("of the colour channels", default="4:2:0", choices=("4:4:4", "4:2:2", "4:2:0"))
_JPEG_QUALITY = Parameter("libjpeg quality", 1, 100, kind="integer")

DISTORTIONS: dict[str, DistortionRow] = {
    "resize": DistortionRow(
        "change the number of pixels; the mask is mapped back to the truth's size",
        {"scale": Parameter("of both sides", 0.001, 16), "interpolation": _INTERPOLATION}, _on_pixels(resize)),
    "downscale_upscale": DistortionRow(
        "fewer pixels and back to the original size",
        {"scale": Parameter("of both sides", 0.001, 1), "interpolation": _INTERPOLATION},
        _on_pixels(downscale_upscale)),
    "crop": DistortionRow(
        "keep a window at a random place; the truth is cropped with the image",
        {"fraction": Parameter("of both sides that is kept", 0.001, 1),
         "grid": Parameter("its corner lies at multiples of this", 1, 1024, 1, "integer")}, _crop),
    "gaussian_blur": DistortionRow(
        "Gaussian smoothing, sigma from the kernel",
        {"kernel": Parameter("side in pixels", 1, 999, kind="odd")}, _on_pixels(gaussian_blur)),
    "median": DistortionRow(
        "median filter", {"kernel": Parameter("side in pixels", 1, 255, kind="odd")}, _on_pixels(median)),
    "gaussian_noise": DistortionRow(
        "add normal noise", {"sigma": Parameter("standard deviation in grey levels", 0, 255)}, _noise),
    "sharpen": DistortionRow(
        "unsharp mask",
        {"amount": Parameter("of what blurring removes", 0, 20),
         "kernel": Parameter("of the blur", 3, 999, 5, "odd")}, _on_pixels(sharpen)),
    "contrast": DistortionRow(
        "stretch about the mean grey", {"factor": Parameter("1 changes nothing", 0, 20)}, _on_pixels(contrast)),
    "brightness": DistortionRow(
        "add a constant", {"shift": Parameter("in grey levels", -255, 255)}, _on_pixels(brightness)),
    "gamma": DistortionRow(
        "power of the value", {"exponent": Parameter("below 1 brightens", 0.01, 100)}, _on_pixels(gamma)),
    "jpeg": DistortionRow(
        "JPEG compression", {"quality": _JPEG_QUALITY, "subsampling": _SUBSAMPLING}, _on_pixels(jpeg)),
    "double_jpeg": DistortionRow(
        "JPEG twice", {"first": _JPEG_QUALITY, "second": _JPEG_QUALITY, "subsampling": _SUBSAMPLING},
        _on_pixels(double_jpeg)),
    "webp": DistortionRow(
        "lossy WebP compression", {"quality": Parameter("libwebp quality", 0, 100, kind="integer")}, _on_pixels(webp)),
    "social": DistortionRow(
        "as networks do: downsize, then JPEG",
        {"side": Parameter("limit of the longest side", 1, 65_500, kind="integer"), "quality": _JPEG_QUALITY},
        _on_pixels(social)),
    "edge_smoothing": DistortionRow(
        "Gaussian smoothing around the edge of what is forged, which hides the seam",
        {"sigma": Parameter("standard deviation in pixels", 0, 100),
         "width": Parameter("of the band, in pixels to either side", 1, 999, 5, "integer")},
        _edge_smoothing, needs_truth=True),
    FOREIGN: DistortionRow(
        "any transform of albumentations 2 by name, with its own parameters", {}, from_albumentations.apply),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """One kind of distortion with a value for each of its parameters."""

    kind: str
    values: Mapping[str, Any]

    @property
    def label(self) -> str:
        """``kind(parameter=value, ...)``, without values that are the default."""
        rows = DISTORTIONS[self.kind].parameters
        told = [(name, value) for name, value in self.values.items() if name not in rows or value != rows[name].default]
        return f"{self.kind}({', '.join(f'{name}={_written(value)}' for name, value in told)})"


@dataclass(frozen=True, slots=True)
class Distortion:
    """Steps in order, known by their label: ``none``, ``jpeg(quality=50)``, ``resize(scale=0.5)+jpeg(quality=70)``."""

    name: str
    steps: tuple[Step, ...] = field(compare=False, repr=False)

    @property
    def needs_truth(self) -> bool:
        """Whether a step looks at the truth."""
        return any(DISTORTIONS[step.kind].needs_truth for step in self.steps)

    def apply(self, image: Image, *, seed: int, sample: str, truth: Truth | None = None) -> Distorted:
        """Distort one image, uint8 (H, W, 3) RGB, which stays as it is.

        What is random depends on ``seed``, the sample's id and the label alone: on no order, batch or worker.

        Args:
            truth: bool (H, W), nothing forged in a pristine image; only what ``needs_truth`` looks at it.

        Raises:
            UsageError: not an image, a truth of another size, or a transform of albumentations that does not give an
                image.
            ImageError: this distortion cannot be applied to this image: by its size in most cases, or for want of a
                truth.
        """
        picture = Distorted.nothing_done(as_image(image))
        words = json.dumps([seed, sample, self.name]).encode()
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(words).digest(), "big"))
        try:
            for step in self.steps:
                row = DISTORTIONS[step.kind]
                seen = {"truth": None if truth is None else picture.truth_of_pixels(truth)} if row.needs_truth else {}
                picture = row.function(picture, rng, **seen, **step.values)
        except ImageError as error:
            raise ImageError(f"{self.name}: {error}") from error
        return picture


def parse_distortions(entries: Sequence[object]) -> list[Distortion]:
    """What a protocol writes under ``distort``, one distortion per level: ``none`` first, the others as written.

    An entry is ``none``, ``{name: {parameter: value}}`` or ``{chain: [entry, ...]}``. A list for a value means a level
    for each element, several lists their product, the first written varying slowest. For ``albumentations`` a list is
    one value (a range).

    Raises:
        UsageError: an unknown name or parameter, a missing one, a value outside its range, one level twice, or a
            transform of albumentations where that is not installed.
    """
    if not isinstance(entries, list | tuple):
        raise UsageError("distort: write a list, one distortion per line, such as '- jpeg: {quality: [90, 70]}'")
    found: list[Distortion] = []
    for number, entry in enumerate(entries, 1):
        try:
            found += _levels(entry)
        except UsageError as error:
            raise UsageError(f"distort, entry {number}: {error}") from None
    names = [distortion.name for distortion in found]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"distort: {name!r} stands there twice")
    return [Distortion(NONE, ()), *(distortion for distortion in found if distortion.steps)]


def _levels(entry: object) -> list[Distortion]:
    if entry == NONE:
        return [Distortion(NONE, ())]
    kind, given = _kind_and_given(entry)
    if kind != CHAIN:
        parts = [_steps(kind, given)]
    elif isinstance(given, list | tuple) and given:
        parts = [_steps(*_kind_and_given(part)) for part in given]
    else:
        raise UsageError("write chain: [{resize: {scale: 0.5}}, {jpeg: {quality: 70}}]")
    return [Distortion("+".join(step.label for step in steps), steps) for steps in itertools.product(*parts)]


def _kind_and_given(entry: object) -> tuple[str, object]:
    if isinstance(entry, str):
        return entry, {}
    if isinstance(entry, Mapping) and len(entry) == 1:
        ((kind, given),) = entry.items()
        return str(kind), {} if given is None else given
    several = "; one distortion per entry, those to be done one after another in a chain"
    hint = several if isinstance(entry, Mapping) and entry else ""
    raise UsageError(f"write NAME: {{PARAMETER: VALUE}}, not {entry!r}{hint}")


def _steps(kind: str, given: object) -> list[Step]:
    """One step per level of an entry."""
    if kind in (NONE, CHAIN):
        raise UsageError(f"{kind!r} is an entry of its own{' without parameters' if kind == NONE else ''}")
    if kind not in DISTORTIONS:
        known = ", ".join([NONE, CHAIN, *DISTORTIONS])
        raise UsageError(f"unknown distortion {kind!r}{nearest(kind, DISTORTIONS)} (known: {known})")
    parameters = DISTORTIONS[kind].parameters
    if not isinstance(given, Mapping):
        raise UsageError(f"{kind}: write {kind}: {{{next(iter(parameters), 'name')}: {given}}}")
    try:
        if kind == FOREIGN:
            return [Step(kind, from_albumentations.checked(given))]
        levels = _read_levels(parameters, given)
    except UsageError as error:
        raise UsageError(f"{kind}: {error}") from None
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    return [
        Step(kind, defaults | dict(zip(levels, values, strict=True))) for values in itertools.product(*levels.values())
    ]


def _read_levels(parameters: Mapping[str, Parameter], given: Mapping[str, object]) -> dict[str, list[Value]]:
    for name in given:
        if name not in parameters:
            raise UsageError(
                f"unknown parameter {name!r}{nearest(str(name), parameters)} (known: {', '.join(parameters)})"
            )
    for name, parameter in parameters.items():
        if parameter.default is None and name not in given:
            raise UsageError(f"parameter {name!r} is missing: {parameter.allowed}")
    levels: dict[str, list[Value]] = {}
    for name, values in given.items():
        try:
            levels[name] = [
                parameters[name].read(v) for v in (values if isinstance(values, list | tuple) else [values])
            ]
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from None
        if not levels[name]:
            raise UsageError(f"{name}: an empty list has no level")
    return levels


def _written(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
