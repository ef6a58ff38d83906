"""Examples by number: what a mix draws them from, and the source that a training reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from imdl_bench.errors import DataError
from imdl_bench.examples import PRISTINE, Example
from imdl_bench.making import library_versions
from imdl_bench.synthesis.photographs import Photographs
from imdl_bench.synthesis.regions import Mask, Pixels

_DRAWS = 200  # of one example, before its photographs are given up


@dataclass(frozen=True, slots=True)
class Draw:
    """What one example is made from.

    Attributes:
        kind: which of the mix's kinds it has to be.
        side: height and width of the example.
        photographs: those that may be used.
        common: random numbers for all that must not tell the kind: photograph, frame, final processing.
        own: random numbers for what the kind does.
    """

    kind: str
    side: int
    photographs: Photographs
    common: np.random.Generator
    own: np.random.Generator


@dataclass(frozen=True, slots=True)
class Drawn:
    """One example, with how it was made. ``image`` to ``label`` as in ``imdl_bench.examples.Example``.

    ``record`` holds strings, numbers and None: ``photograph`` is the one that the image shows, ``donor`` the one that a
    region was taken from, if any.
    """

    image: Pixels
    truth: Mask
    record: Mapping[str, Any]
    donor: Pixels | None = None
    donor_truth: Mask | None = None
    label: int | None = None


@dataclass(frozen=True, slots=True)
class Mix:
    """Kinds of examples in equal shares, and how each is made.

    Attributes:
        recipe: to be raised when the same seed gives other pictures.
        kinds: dealt out so that every run of ``len(kinds)`` numbers holds each once, in random order.
        make: one example, or None where what was drawn does not give one: it is then drawn again.
        whole: photographs come at (side, side), their aspect not kept; otherwise as they are.
        negative: the kinds of which nothing is forged.
        about: what else the record of a training has to say.
    """

    recipe: int
    kinds: tuple[str, ...]
    make: Callable[[Draw], Drawn | None]
    whole: bool
    negative: tuple[str, ...] = (PRISTINE,)
    about: Mapping[str, object] = field(default_factory=dict)


class Stream:
    """An ``imdl_bench.examples.Source`` that never ends: a mix over photographs."""

    epoch: int | None = None

    def __init__(self, name: str, mix: Mix, photographs: Photographs, *, seed: int, side: int, part: str) -> None:
        self.name, self.mix, self.photographs = name, mix, photographs
        self.seed, self.side, self.part = seed, side, part
        self.about: dict[str, object] = {
            "mix": name,
            "recipe": mix.recipe,
            "seed": seed,
            "side": side,
            "part": part,
            "photographs": len(photographs.names),
            "photographs_sha256": photographs.digest(),
            "outlines": photographs.outlines,
            "versions": library_versions(),
            **mix.about,
        }

    def example(self, number: int) -> Example:
        """Example ``number``, from 0 up, whatever was asked for before. Raises DataError where none can be made."""
        made = self.made(number)
        kind = self.kind(number)
        forged = kind not in self.mix.negative
        return Example(self.id(number), made.image, made.truth, forged, kind, made.donor, made.donor_truth, made.label)

    def id(self, number: int) -> str:
        """Such as ``unified-training-7-0000123``: mix, part, seed, number."""
        return f"{self.name}-{self.part}-{self.seed}-{number:07}"

    def kind(self, number: int) -> str:
        """The kind of an example, without making it."""
        kinds = self.mix.kinds
        turn, place = divmod(number, len(kinds))
        return kinds[int(self._random(turn, "kinds").permutation(len(kinds))[place])]

    def made(self, number: int) -> Drawn:
        """Example ``number`` with its record. Raises DataError where the photographs do not give one."""
        random = self._random(number, "common"), self._random(number, "own")
        draw = Draw(self.kind(number), self.side, self.photographs, *random)
        for _ in range(_DRAWS):
            if (drawn := self.mix.make(draw)) is not None:
                return drawn
        raise DataError(
            f"{self.photographs.root}: {self.id(number)}: no {draw.kind} came of {_DRAWS} draws from "
            f"{len(self.photographs.names)} photographs; give more photographs, or look whether they can be read"
        )

    def _random(self, number: int, purpose: str) -> np.random.Generator:
        """Its own stream of random numbers, whatever other examples are made."""
        words = json.dumps([self.name, self.seed, number, purpose]).encode()
        return np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(words).digest(), "big")))
