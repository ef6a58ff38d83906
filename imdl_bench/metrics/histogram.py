"""One pass over the pixels: sorted scores of one image, and pools of scores that add up over a data set.

Scores are float32 in [0, 1]; their bit patterns order as they do, so everything here works on uint32.
Per image the scores are sorted, which is exact. A pool keeps exact values while they are few and falls back to bins
that are uniform in the logit (10 mantissa bits per octave of p below 0.5 and of 1 - p above), because a trained network
puts most pixels below 1e-5, where uniform bins would tie what it ranks.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

_HALF_BITS = 0x3F000000
_ONE_BITS = 0x3F800000
_MANTISSA_DROPPED = 13
_BASE = 0x30000000 >> _MANTISSA_DROPPED  # 2**-31: scores below it share the first bin
HALF_BINS = (_HALF_BITS >> _MANTISSA_DROPPED) - _BASE + 1
BINS = 2 * HALF_BINS
COARSE_PER_FINE = 16
COARSE_HALF = (HALF_BINS - 1) // COARSE_PER_FINE + 1
COARSE_BINS = 2 * COARSE_HALF
MAX_EXACT_VALUES = 1 << 17
TIED = 16
FEW_VALUES = 1 << 12  # an image of fewer distinct scores, such as a mask of 8 bits, is binned score by score
STEPS = 1 << _MANTISSA_DROPPED


@dataclass(frozen=True, slots=True)
class Curve:
    """Counts at falling thresholds, all that a ranking metric needs. Arrays are (..., K), the last axis falls in score.

    Point k predicts ``score >= thresholds[k]``; the first threshold is infinite and predicts nothing. ``*_before`` are
    the counts just above that score, so that ties are known. Points without any forged pixel may be left out: no metric
    here is greatest there.
    """

    thresholds: NDArray[np.float64]
    tp: NDArray[np.float64]
    fp: NDArray[np.float64]
    tp_before: NDArray[np.float64]
    fp_before: NDArray[np.float64]
    forged: NDArray[np.float64]
    pristine: NDArray[np.float64]
    mixed: NDArray[np.bool_] | None = None  # points that stand for a bin of different scores, not for one score


@dataclass(frozen=True, slots=True)
class SortedScores:
    """The pixels of one image in order of score.

    Attributes:
        keys: uint32 (n,), rising: ``bits(score) << 1 | pristine``, so that forged pixels lead their ties.
        forged_at: int64 (P,), positions of the forged pixels in ``keys``.
        inverted: whether scores stand for ``1 - score`` (exactly, no rounding).
    """

    keys: NDArray[np.uint32]
    forged_at: Counts
    inverted: bool = False

    @property
    def forged(self) -> int:
        """Number of forged pixels."""
        return len(self.forged_at)

    @property
    def pristine(self) -> int:
        """Number of pristine pixels."""
        return len(self.keys) - len(self.forged_at)

    def counts_at(self, threshold: float) -> tuple[int, int]:
        """True and false positives at ``score >= threshold``."""
        return self._counts_from(int(self.keys.searchsorted(self._first_key(threshold))))

    def curve(self) -> Curve:
        """The points that hold forged pixels."""
        n, forged = len(self.keys), self.forged
        keys = self.keys[self.forged_at]
        first = _run_starts(keys)
        after = np.append(first[1:], forged)[: len(first)]
        start, values = self.forged_at[first], keys[first]
        end = self._ends(self.forged_at[after - 1], values)
        tp, tp_before = forged - first, forged - after
        fp, fp_before = n - start - tp, n - end - tp_before
        totals = np.asarray(float(forged)), np.asarray(float(self.pristine))
        thresholds = np.append(self._score(values), np.inf)[::-1]
        return Curve(thresholds, _falling(tp), _falling(fp), _falling(tp_before), _falling(fp_before), *totals)

    def eer_counts(self) -> tuple[int, int, float]:
        """True positives, false positives and threshold where false-positive and false-negative rate are closest.

        Among all scores that occur; the higher one where two are equally close.
        """
        low, high = 0, len(self.keys) - 1  # ranks from the top
        while low < high:
            middle = (low + high) // 2
            if self._excess(self._group_start(middle)) >= 0:
                high = middle
            else:
                low = middle + 1
        start = self._group_start(low)
        above = int(self.keys.searchsorted(self.keys[start] | np.uint32(1), side="right"))
        if above < len(self.keys) and abs(self._excess(above)) <= abs(self._excess(start)):
            start = above
        return (*self._counts_from(start), float(self._score(self.keys[start : start + 1])[0]))

    def inverse(self) -> SortedScores:
        """The same pixels scored ``1 - score``, in exact reverse order."""
        bits, pristine = self.keys >> 1, self.keys & 1
        return _sorted(((_ONE_BITS - bits) << 1 | pristine).astype(np.uint32), inverted=not self.inverted)

    def _counts_from(self, start: int) -> tuple[int, int]:
        tp = self.forged - int(self.forged_at.searchsorted(start))
        return tp, len(self.keys) - start - tp

    def _excess(self, start: int) -> float:
        tp, fp = self._counts_from(start)
        return fp / self.pristine - (1 - tp / self.forged)

    def _group_start(self, rank: int) -> int:
        key = self.keys[len(self.keys) - 1 - rank]
        return int(self.keys.searchsorted(key & np.uint32(0xFFFFFFFE)))

    def _ends(self, last: Counts, values: NDArray[np.uint32]) -> Counts:
        """Where each tie group ends, given the position and key of its last forged pixel."""
        end = last + 1
        pristine = values | np.uint32(1)
        tied = np.flatnonzero(self.keys[np.minimum(end, len(self.keys) - 1)] == pristine)
        end[tied] = np.searchsorted(self.keys, pristine[tied], side="right")
        return end

    def _first_key(self, threshold: float) -> np.uint32:
        """The least key whose score reaches ``threshold``."""
        if self.inverted:  # 1 - score >= t  <=>  score <= 1 - t, in exact arithmetic of the float32 scores
            limit = np.float64(1) - np.float64(threshold)
            if limit < 0:
                return np.uint32(0xFFFFFFFF)
            bits = _bits_at_most(float(limit))
            return np.uint32((_ONE_BITS - min(bits, _ONE_BITS)) << 1)
        return np.uint32(_bits_at_least(threshold) << 1)

    def _score(self, keys: NDArray[np.uint32]) -> NDArray[np.float64]:
        bits = keys >> np.uint32(1)
        if self.inverted:
            return 1.0 - (np.uint32(_ONE_BITS) - bits).view(np.float32).astype(np.float64)
        return bits.view(np.float32).astype(np.float64)


def _falling(rising: Counts) -> NDArray[np.float64]:
    return np.append(rising, 0)[::-1].astype(np.float64)


def sort_scores(mask: NDArray[np.float32], truth: NDArray[np.bool_]) -> SortedScores:
    """Sort the pixels of one image.

    Args:
        mask: float32 (H, W) in [0, 1], checked by the caller.
        truth: bool (H, W), True = forged.
    """
    keys = np.ascontiguousarray(mask).reshape(-1).view(np.uint32) << np.uint32(1)  # drops the sign of -0.0
    keys |= ~np.ascontiguousarray(truth).reshape(-1)
    return _sorted(keys)


def _sorted(keys: NDArray[np.uint32], *, inverted: bool = False) -> SortedScores:
    keys.sort()
    return SortedScores(keys, np.flatnonzero((keys & np.uint32(1)) == 0), inverted)


def _bits_at_least(threshold: float) -> int:
    nearest = np.float32(threshold)
    if float(nearest) < threshold:
        nearest = np.nextafter(nearest, np.float32(np.inf))
    return 0 if nearest <= 0 else int(nearest.view(np.uint32))


def _bits_at_most(limit: float) -> int:
    nearest = np.float32(limit)
    if float(nearest) > limit:
        nearest = np.nextafter(nearest, np.float32(-np.inf))
    return 0 if nearest <= 0 else int(nearest.view(np.uint32))


def bin_of(bits: NDArray[np.uint32]) -> Counts:
    """The bin 0..BINS-1 of scores given as float32 bit patterns."""
    return _place(bits)[0]


def _place(bits: NDArray[np.uint32]) -> tuple[Counts, Counts]:
    """The bin of each score, and how far up the bin it lies, 0..STEPS-1."""
    rest = (np.float32(1) - bits.view(np.float32)).view(np.int32).astype(np.int64) - 1
    lower = bits < _HALF_BITS
    step = np.where(lower, bits.astype(np.int64), rest)
    outward = np.maximum((step >> _MANTISSA_DROPPED) - _BASE, -1) + 1
    offset = np.where(outward > 0, step & (STEPS - 1), 0)
    return np.where(lower, outward, BINS - 1 - outward), np.where(lower, offset, STEPS - 1 - offset)


def bin_edges() -> NDArray[np.float64]:
    """The least score of each bin, rising; 0.5 is one of them."""
    steps = ((np.arange(HALF_BINS - 1, dtype=np.uint32) + np.uint32(_BASE)) << np.uint32(_MANTISSA_DROPPED)).view(
        np.float32
    )
    lower = np.concatenate([[0.0], steps.astype(np.float64)])
    return np.concatenate([lower, 1.0 - np.append(lower[1:], 0.5)[::-1]])


@dataclass(frozen=True, slots=True)
class BinnedScores:
    """Histogram of one image, of the bins that hold pixels: most of the ``BINS`` hold none.

    True ties and mere neighbours in a bin do not rank alike, so bins of one score alone are told apart.

    Attributes:
        bins: int64 (R,), rising.
        counts: int64 (2, R), forged and pristine pixels in each bin.
        tied: int64 (T,), places in ``bins`` of those that hold at least ``TIED`` pixels, all of one score.
        heights: int64 (T,), how far up its bin that score lies, 0..STEPS-1.
        values: the distinct scores as bit patterns, rising, and their counts int64 (2, V); None where they are many.
    """

    bins: Counts
    counts: Counts
    tied: Counts
    heights: Counts
    values: tuple[NDArray[np.uint32], Counts] | None = None

    def add_to(self, histogram: Counts) -> None:
        """Add to a histogram (5, BINS).

        Rows: forged and pristine pixels of bins that hold different scores; forged and pristine pixels of bins of one
        score; and for the latter the summed height of that score in its bin, 0..STEPS-1 each.
        """
        different, one = self.counts.copy(), self.counts[:, self.tied]
        different[:, self.tied] = 0
        for row, counts in zip(histogram[:2], different, strict=True):
            row[self.bins] += counts
        for row, counts in zip(histogram[2:], (*one, one.sum(axis=0) * self.heights), strict=True):
            row[self.bins[self.tied]] += counts


def bin_scores(scores: SortedScores) -> BinnedScores:
    """Histogram of one image."""
    values = _distinct(scores, FEW_VALUES)
    return _bin_pixels(scores) if values is None else _bin_values(*values)


def _bin_values(bits: NDArray[np.uint32], counts: Counts) -> BinnedScores:
    places, heights = _place(bits)
    first = _run_starts(places)
    binned = np.add.reduceat(counts, first, axis=1)
    of_one = np.diff(first, append=len(bits)) == 1
    tied = np.flatnonzero(of_one & (binned.sum(axis=0) >= TIED))
    return BinnedScores(places[first], binned, tied, heights[first[tied]], (bits, counts))


def _bin_pixels(scores: SortedScores) -> BinnedScores:
    keys = scores.keys
    half = int(np.searchsorted(keys, np.uint32(_HALF_BITS << 1)))
    codes = (keys >> np.uint32(_MANTISSA_DROPPED + 1)).view(np.int32)
    rest = np.float32(1) - (keys[half:] >> np.uint32(1)).view(np.float32)
    np.right_shift(rest.view(np.int32) - 1, _MANTISSA_DROPPED, out=codes[half:])
    forged_at = scores.forged_at
    bins, total = _occupied(codes, half)
    forged_bins, forged_total = _occupied(codes[forged_at], int(np.searchsorted(forged_at, half)))
    place = np.empty(BINS, np.intp)
    place[bins] = np.arange(len(bins))
    forged = np.zeros(len(bins), np.int64)
    forged[place[forged_bins]] = forged_total
    ends = np.cumsum(total)
    held = np.flatnonzero(total >= TIED)
    bits = keys[np.stack([ends[held] - 1, ends[held] - total[held]])] >> np.uint32(1)
    same = bits[0] == bits[1]
    return BinnedScores(bins, np.stack([forged, total - forged]), held[same], _place(bits[0][same])[1])


def _occupied(codes: NDArray[np.int32], half: int) -> tuple[Counts, Counts]:
    """The bins that hold pixels, rising, and how many; ``codes`` in order of score, from ``half`` on of the upper half.

    The bins beside 0.5 have the same code, so each half has its own runs; all codes of an outermost bin are one.
    """
    starts = np.concatenate([_run_starts(codes[:half]), half + _run_starts(codes[half:])])
    bins = _bin_of_codes(codes[starts], starts >= half)
    first = _run_starts(bins)
    return bins[first].astype(np.int64), np.diff(starts[first], append=len(codes))


def _bin_of_codes(codes: NDArray[np.int32], upper: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Bins from the leading bits of a score, or in the upper half of what it lacks to 1."""
    outward = np.maximum(codes - np.int32(_BASE - 1), 0)
    return np.asarray(np.where(upper, np.int32(BINS - 1) - outward, outward))


def coarsen(scores: BinnedScores) -> Counts:
    """(2, COARSE_BINS), 6 mantissa bits per octave: kept per image for intervals and set-wide sweeps."""
    upper = scores.bins >= HALF_BINS
    outward = (np.where(upper, BINS - 1 - scores.bins, scores.bins) + COARSE_PER_FINE - 1) // COARSE_PER_FINE
    bins = np.where(upper, COARSE_BINS - 1 - outward, outward)
    first = _run_starts(bins)
    coarse = np.zeros((2, COARSE_BINS), np.int64)
    coarse[:, bins[first]] = np.add.reduceat(scores.counts, first, axis=1)
    return coarse


def coarse_edges() -> NDArray[np.float64]:
    """The least score of each coarse bin, rising."""
    inner = np.arange(COARSE_HALF - 1) * COARSE_PER_FINE + 1
    starts = np.concatenate([[0], inner, HALF_BINS + inner - 1, [BINS - 1]])
    return np.asarray(bin_edges()[starts])


def dense_curve(thresholds: NDArray[np.float64], forged: NDArray[np.float64], pristine: NDArray[np.float64]) -> Curve:
    """The curve of counts per score, scores rising along the last axis; leading axes are kept (resamples)."""
    nothing = np.zeros((*forged.shape[:-1], 1))
    tp, fp = (
        np.cumsum(np.concatenate([nothing, counts[..., ::-1]], axis=-1), axis=-1) for counts in (forged, pristine)
    )
    before = [np.concatenate([nothing, counts[..., :-1]], axis=-1) for counts in (tp, fp)]
    return Curve(np.append(thresholds, np.inf)[::-1], tp, fp, before[0], before[1], tp[..., -1:], fp[..., -1:])


@dataclass(slots=True)
class ScorePool:
    """Scores of many images together. Adding is exact integer arithmetic: neither order nor batches matter.

    Beside the histogram, exact values are kept up to ``MAX_EXACT_VALUES`` distinct scores, so that saved 8-bit masks
    and small sets stay exact; ``bits`` is None once there were more.
    """

    histogram: Counts = field(default_factory=lambda: np.zeros((5, BINS), np.int64))
    bits: NDArray[np.uint32] | None = field(default_factory=lambda: np.zeros(0, np.uint32))
    counts: Counts = field(default_factory=lambda: np.zeros((2, 0), np.int64))

    def add(self, scores: SortedScores, binned: BinnedScores) -> None:
        """Add one image, given sorted and as its :func:`bin_scores`."""
        binned.add_to(self.histogram)
        if self.bits is None:
            return
        values = binned.values or _distinct(scores, MAX_EXACT_VALUES)
        if values is None:
            self._drop_values()
        else:
            self._add_values(self.bits, *values)

    def merge(self, other: ScorePool) -> None:
        """Add all images of another pool: the same bytes as if they had been added one by one."""
        self.histogram += other.histogram
        if self.bits is not None and other.bits is not None:
            self._add_values(self.bits, other.bits, other.counts)
        else:
            self._drop_values()

    def curve(self) -> Curve:
        """All distinct scores; or all bins that occur, equal scores at their place among the different ones."""
        if self.bits is not None:
            forged, pristine = self.counts.astype(np.float64)
            return dense_curve(self.bits.view(np.float32).astype(np.float64), forged, pristine)
        mixed, tied = self.histogram[:2], self.histogram[2:4]
        below = self.histogram[4] / np.maximum(tied.sum(axis=0) * STEPS, 1)
        forged, pristine = np.stack([mixed * below, tied, mixed * (1 - below)], axis=-1).reshape(2, -1)
        occurs = np.flatnonzero(forged + pristine)
        curve = dense_curve(np.repeat(bin_edges(), 3)[occurs], forged[occurs], pristine[occurs])
        return replace(curve, mixed=np.append(occurs % 3 != 1, False)[::-1])

    def to_bytes(self) -> bytes:
        """For the run's file; :meth:`from_bytes` reads it."""
        bits = np.zeros(0, "<u4") if self.bits is None else self.bits.astype("<u4")
        head = np.array([self.bits is not None, len(bits)], "<i8")
        parts = (head, bits, self.counts.astype("<i8"), self.histogram.astype("<i8"))
        return zlib.compress(b"".join(part.tobytes() for part in parts), 1)

    @classmethod
    def from_bytes(cls, content: bytes) -> ScorePool:
        """The pool that :meth:`to_bytes` wrote."""
        raw = zlib.decompress(content)
        exact, values = (int(number) for number in np.frombuffer(raw, "<i8", 2))
        bits = np.frombuffer(raw, "<u4", values, 16).astype(np.uint32)
        rest = np.frombuffer(raw, "<i8", offset=16 + 4 * values).astype(np.int64)
        counts, histogram = rest[: 2 * values].reshape(2, values), rest[2 * values :].reshape(5, BINS)
        return cls(histogram, bits if exact else None, counts)

    def _add_values(self, known: NDArray[np.uint32], bits: NDArray[np.uint32], counts: Counts) -> None:
        """Add distinct scores, rising, with their forged and pristine counts (2, n)."""
        place = np.searchsorted(known, bits)
        new = np.append(known, np.uint32(0xFFFFFFFF))[place] != bits
        if len(known) + np.count_nonzero(new) > MAX_EXACT_VALUES:
            self._drop_values()
            return
        if new.any():
            together = np.sort(np.concatenate([known, bits[new]]))
            summed = np.zeros((2, len(together)), np.int64)
            summed[:, np.searchsorted(together, known)] = self.counts
            place = np.searchsorted(together, bits)
            self.bits, self.counts = together, summed
        self.counts[:, place] += counts

    def _drop_values(self) -> None:
        self.bits, self.counts = None, np.zeros((2, 0), np.int64)


def _distinct(scores: SortedScores, most: int) -> tuple[NDArray[np.uint32], Counts] | None:
    """The distinct scores as bit patterns, rising, and their counts (2, V); None where they are more than ``most``."""
    thinned = scores.keys[::16] >> np.uint32(1)
    if np.count_nonzero(thinned[1:] != thinned[:-1]) >= most:  # a network's map: most pixels differ
        return None
    bits = scores.keys >> np.uint32(1)
    starts = _run_starts(bits)
    if len(starts) > most:
        return None
    forged = np.diff(np.searchsorted(scores.forged_at, starts), append=scores.forged)
    return bits[starts], np.stack([forged, np.diff(starts, append=len(bits)) - forged])


def _run_starts(values: NDArray[np.uint32] | NDArray[np.int32] | Counts) -> Counts:
    """Where runs of equal values begin."""
    begins = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=begins[1:])
    return np.flatnonzero(begins)


def pack_counts(histogram: Counts) -> bytes:
    """A sparse histogram (2, n) as bytes; :func:`unpack_counts` reads it."""
    flat = histogram.reshape(-1)
    at = np.flatnonzero(flat)
    return zlib.compress(
        np.array([len(at)], "<u4").tobytes() + at.astype("<u2").tobytes() + flat[at].astype("<u4").tobytes(), 1
    )


def unpack_counts(content: bytes, bins: int = COARSE_BINS) -> Counts:
    """The histogram (2, bins) that :func:`pack_counts` wrote."""
    raw = zlib.decompress(content)
    length = int(np.frombuffer(raw, "<u4", 1)[0])
    flat = np.zeros(2 * bins, np.int64)
    flat[np.frombuffer(raw, "<u2", length, 4)] = np.frombuffer(raw, "<u4", length, 4 + 2 * length)
    return flat.reshape(2, bins)
