"""One small family of errors. Each message names the file or key, what is wrong and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ImdlBenchError(Exception):
    """Base of every error a user can cause or mend; the CLI prints it without a traceback and exits with 2."""


class UsageError(ImdlBenchError):
    """A name, option or combination that cannot be run."""


class CardError(ImdlBenchError):
    """A card or protocol that cannot be used: names the file, the key and the nearest right word."""


class DataError(ImdlBenchError):
    """A data folder that is not what its card says."""


class ImageError(ImdlBenchError):
    """A file that cannot be read as an image or mask; names the file."""


class PredictionError(ImdlBenchError):
    """A model returned something that is not a prediction (shape, dtype, range, not finite)."""


class TrainingError(ImdlBenchError):
    """A training that cannot go on: its loss or gradient is not finite."""


def nearest(word: str, known: Iterable[str]) -> str:
    """The clause ``; did you mean 'x'?`` for the first of ``known`` that begins with ``word``, else the closest; or an
    empty string."""
    words = list(known)
    begun = [each for each in words if word and each.startswith(word)]
    close = begun or difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
