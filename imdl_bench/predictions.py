"""Predictions made elsewhere: ``--model predictions:DIR`` scores masks and scores that lie in a folder.

Masks are named after the samples (the column `sample` of rows.csv; for a sample Tp/Tp_D_001.jpg):

    DIR/Tp/Tp_D_001.jpg.png     the sample's id and .png or .npy
    DIR/Tp/Tp_D_001.png         the id without its suffix, where no other sample of the split shares it
    DIR/Tp_D_001.png            the file's stem, where no other sample of the split shares it; looked for last
    DIR/.../Tp_D_001.jpg#donor.png           the mask of a pair's second image, in the same three ways
    DIR/DATASET/...             for one data set of several; where this folder exists, only it is looked at
    DIR/.../jpeg(quality=50)/Tp/Tp_D_001.png      after a distortion, named as in tables; undistorted masks lie
                                directly there or under none/

A mask has the size of the (upright, distorted) image that it is for. High = forged. PNG: grey of 8 or 16 bits, 0..max
stands for [0, 1]. NPY: (H, W), floating point in [0, 1], bool, uint8 (0..255) or uint16 (0..65535); no pickles.

DIR/scores.csv (or DIR/DATASET/scores.csv, which then counts alone) holds the image scores: columns `sample` (in one of
the three ways), `score` in [0, 1], high = forged, and, where needed, `distortion` and `dataset`.

Whatever the protocol needs must be there for every image: an image without it is recorded as failed, with the names
that were looked for. Links that lead out of DIR and linked folders are not followed. The content of the predictions is
part of the run's identity; a changed file is another run.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from imdl_bench import catalog
from imdl_bench.cache import file_name
from imdl_bench.cards import RECORDED
from imdl_bench.dataset import Dataset
from imdl_bench.distortions import NONE
from imdl_bench.errors import DataError, PredictionError, UsageError, nearest
from imdl_bench.prediction_files import read_recorded_mask, read_scores
from imdl_bench.remembered import file_stamp, hash_files
from imdl_bench.types import DONOR, Prediction, Sample

SUFFIXES = (".png", ".npy")
SCORES = "scores.csv"

Place = tuple[str, str]  # level of distortion, and sample id with or without DONOR
Spellings = tuple[tuple[str, ...], ...]  # names of one sample; those of the first group go before those of the second


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of predictions.

    Attributes:
        root: the folder, links resolved.
        label: the model's name in tables, ``predictions:NAME``.
        files: every file by its POSIX path below ``root``, links resolved; ``None`` where one leads out of ``root``.
        linked: folders that are links, which are not looked into.
    """

    root: Path
    label: str
    files: Mapping[str, Path | None]
    linked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recorded:
    """The predictions of a folder for the samples of one run.

    Attributes:
        outputs: ``mask`` and ``score``, as far as the folder has them for this data set.
        content: sha256 over all predictions that are used.
        remarks: what a reader of the numbers must know.
    """

    outputs: tuple[str, ...]
    content: str
    remarks: tuple[str, ...]
    _needs: frozenset[str]
    _masks: Mapping[Place, Path | str] = field(repr=False)
    _scores: Mapping[Place, float | str] = field(repr=False)
    _stamps: Mapping[Path, str] = field(repr=False)

    def read(self, sample: str, distortion: str, shapes: Sequence[tuple[int, int]]) -> Prediction:
        """The prediction for a sample whose image (of a pair: both images) has this height and width.

        Raises:
            PredictionError: what the protocol needs is missing, or a mask is of another size or not in [0, 1].
            ImageError: a PNG cannot be read.
            DataError: a file changed after ``content`` was made of it.
        """
        keys = (sample, sample + DONOR)
        masks = [self._mask((distortion, key), shape) for key, shape in zip(keys, shapes, strict=False)]
        score = self._scores[distortion, sample]
        if isinstance(score, str) and "score" in self._needs:
            raise PredictionError(score)
        return Prediction(masks[0], None if isinstance(score, str) else score, masks[1] if len(masks) == 2 else None)

    def _mask(self, place: Place, shape: tuple[int, int]) -> NDArray[np.float32] | None:
        found = self._masks[place]
        if isinstance(found, Path):
            try:
                return read_recorded_mask(found, shape)
            finally:
                self._refuse_changed(found)
        if "mask" in self._needs:
            raise PredictionError(found)
        return None

    def _refuse_changed(self, path: Path) -> None:
        if file_stamp(path) != self._stamps[path]:
            raise DataError(f"{path}: changed since this run looked at it; run again, which makes another run of it")


def read_folder(text: str) -> Folder:
    """The folder behind ``predictions:DIR``, with the name of everything in it. Raises UsageError."""
    written = text.removeprefix(f"{RECORDED}:")
    given = Path(written).expanduser().absolute()
    if not written:
        raise UsageError(f"{text} names no folder; write {RECORDED}:DIR (`imdl-bench show {RECORDED}` says how)")
    if not given.is_dir():
        known = [path.name for path in given.parent.iterdir() if path.is_dir()] if given.parent.is_dir() else []
        raise UsageError(f"{text}: no such folder{nearest(given.name, known)} (`imdl-bench show {RECORDED}` says how)")
    root = given.resolve()
    files, linked = _list_files(root)
    if not any(name.endswith((*SUFFIXES, SCORES)) for name in files):
        raise UsageError(f"{text}: holds neither masks ({', '.join(SUFFIXES)}) nor {SCORES}{_not_followed(linked)}")
    name = file_name(given.name or root.name)
    return Folder(root, f"{RECORDED}:{name}", files, tuple(linked))


def match(
    folder: Folder,
    dataset: Dataset,
    samples: Sequence[Sample],
    distortions: Sequence[str],
    needs: frozenset[str],
    workers: int,
    progress: Callable[[int], object],
) -> Recorded:
    """Find the prediction of every sample at every level of distortion.

    Args:
        samples: those of ``dataset`` that are run.
        needs: ``mask`` and ``score``, as far as the protocol uses them; what else is missing is no failure.
        progress: counts the files that are read for their content.

    Raises:
        UsageError: not one of the samples has what the protocol needs and the folder has, or two files stand for one.
        DataError: ``scores.csv`` is none: names the line.
    """
    inside = f"{dataset.card.name}/"
    base = inside if any(name.startswith(inside) for name in folder.files) else ""
    spellings = _spellings([sample.id for sample in dataset.samples])
    roles = ("", DONOR) if dataset.card.input == "pair" else ("",)
    hits = {
        (level, sample + role): _hit(folder, _names(base, level, known, role))
        for level in distortions for sample, known in spellings.items() for role in roles
    }  # fmt: skip
    _refuse_shared(folder, hits)
    table = next((name for name in (base + SCORES, SCORES) if name in folder.files), None)
    lines = _read_scores(folder, table, dataset.card.name, spellings) if table else {}
    masks: dict[Place, Path | str] = {}
    scores: dict[Place, float | str] = {}
    for level in distortions:
        for sample in samples:
            known = spellings[sample.id]
            scores[level, sample.id] = lines.get((level, sample.id), _no_score(table, level, known))
            for role in roles:
                place = (level, sample.id + role)
                masks[place] = _path_or_reason(folder, hits[place], _names(base, level, known, role))
    masked = any(name.startswith(base) and name.endswith(SUFFIXES) for name in folder.files)
    outputs = (*(("mask",) if masked else ()), *(("score",) if table else ()))
    for output, found in (("mask", masks), ("score", scores)):
        if output in needs and output in outputs and all(isinstance(each, str) for each in found.values()):
            raise _nothing_found(folder, dataset, next(iter(found.values())), base)
    used = {hit for hit in hits.values() if hit} | ({table} if table else set())
    strangers = [sample for level, sample in lines if (level, sample) not in hits]
    remarks = _remarks(_unused(folder, base, used), strangers)
    stamps = {path: file_stamp(path) for path in masks.values() if isinstance(path, Path)}
    content = _content(masks, scores, workers, progress)
    return Recorded(outputs, content, remarks, needs, masks, scores, stamps)


def _list_files(root: Path) -> tuple[dict[str, Path | None], list[str]]:
    """Every file below a folder by its relative POSIX path, and the folders that are links."""
    files: dict[str, Path | None] = {}
    linked = []
    for place, folders, names in os.walk(root, onerror=_unreadable):
        here = Path(place)
        linked += [(here / name).relative_to(root).as_posix() for name in folders if (here / name).is_symlink()]
        for name in names:
            path = (here / name).resolve()
            if not name.startswith(".") and (path.is_file() or (here / name).is_symlink()):
                inside = path.is_relative_to(root) and path.is_file()
                files[(here / name).relative_to(root).as_posix()] = path if inside else None
    return files, sorted(linked)


def _unreadable(error: OSError) -> None:
    raise UsageError(f"{error.filename}: {error.strerror}") from None


def _spellings(ids: Sequence[str]) -> dict[str, Spellings]:
    """How each sample may be named: first the id, with or without its suffix; failing that, its stem.

    A name that two samples share is none; the id itself always is one.
    """
    bare = {sample: sample.removesuffix(PurePosixPath(sample).suffix) for sample in ids}
    stems = {sample: PurePosixPath(sample).stem for sample in ids}
    exact = Counter(name for sample in ids for name in {sample, bare[sample]})
    every = Counter(name for sample in ids for name in {sample, bare[sample], stems[sample]})
    found: dict[str, Spellings] = {}
    for sample in ids:
        first = dict.fromkeys([sample, *([bare[sample]] if exact[bare[sample]] == 1 else [])])
        last = [stems[sample]] if every[stems[sample]] == 1 and stems[sample] not in first else []
        found[sample] = (tuple(first), tuple(last))
    return found


def _names(base: str, level: str, spellings: Spellings, role: str) -> list[list[str]]:
    """The files that a mask may be, those of the first list before those of the second."""
    folders = [base, f"{base}{NONE}/"] if level == NONE else [f"{base}{level}/"]
    return [
        [f"{folder}{spelling}{role}{suffix}" for folder in folders for spelling in rank for suffix in SUFFIXES]
        for rank in spellings
    ]


def _hit(folder: Folder, names: Sequence[Sequence[str]]) -> str | None:
    for rank in names:
        found = [name for name in rank if name in folder.files]
        if len(found) > 1:
            raise UsageError(f"{folder.root}: {found[0]} and {found[1]} are masks of one image; keep one of them")
        if found:
            return found[0]
    return None


def _refuse_shared(folder: Folder, hits: Mapping[Place, str | None]) -> None:
    owner: dict[str, Place] = {}
    for place, hit in hits.items():
        if hit is not None and owner.setdefault(hit, place) != place:
            both = " and ".join(f"{sample} ({level})" for level, sample in (owner[hit], place))
            raise UsageError(f"{folder.root}: {hit} would be the mask of {both}; name them by the full id")


def _path_or_reason(folder: Folder, hit: str | None, names: Sequence[Sequence[str]]) -> Path | str:
    if hit is None:
        return f"no mask: looked for {_listed([name for rank in names for name in rank])}"
    return folder.files[hit] or f"{hit} leads out of its folder, or nowhere; nothing outside is read"


def _no_score(table: str | None, level: str, spellings: Spellings) -> str:
    at = "" if level == NONE else f" with distortion {level}"
    return f"no score: looked for {_listed([name for rank in spellings for name in rank])}{at} in {table or SCORES}"


def _read_scores(folder: Folder, table: str, dataset: str, spellings: Mapping[str, Spellings]) -> dict[Place, float]:
    """The scores of a data set by level and sample; lines of no sample keep the name that they are written with."""
    path = folder.files[table]
    if path is None:
        raise UsageError(f"{folder.root / table}: leads out of its folder, or nowhere; nothing outside is read")
    owner = {name: sample for sample, known in spellings.items() for rank in known for name in rank}
    found: dict[Place, tuple[float, int]] = {}
    for number, score, row in read_scores(path):
        if (row.get("dataset") or dataset) != dataset:
            continue
        place = (row.get("distortion") or NONE, owner.get(row["sample"], row["sample"]))
        first = found.setdefault(place, (score, number))
        if first[1] != number:
            raise DataError(f"{path}:{number}: {row['sample']!r} has a score in line {first[1]} already")
    return {place: score for place, (score, _) in found.items()}


def _nothing_found(folder: Folder, dataset: Dataset, reason: object, base: str) -> UsageError:
    names = [name for name in folder.files if name.startswith(base)]
    wanted = base + dataset.samples[0].id
    close = difflib.get_close_matches(wanted, names[:1000], n=1, cutoff=0.0)
    nearest_name = f"; nearest of {len(names)} files: {close[0]!r}" if close else ""
    return UsageError(
        f"{folder.root}: nothing for any of the {len(dataset)} samples of {dataset.card.name}/{dataset.split}. "
        f"Of the first, {reason}{nearest_name}{_not_followed(folder.linked)}"
    )


def _not_followed(linked: Sequence[str]) -> str:
    return f"; linked folders are not followed ({_listed(linked)})" if linked else ""


def _unused(folder: Folder, base: str, used: set[str]) -> list[str]:
    """Files that stand for no sample, those in the folders of other data sets left out."""
    others = () if base else tuple(f"{name}/" for name in catalog.list_datasets())
    return sorted(n for n in folder.files.keys() - used if n.startswith(base) and not n.startswith(others))


def _remarks(extra: Sequence[str], strangers: Sequence[str]) -> tuple[str, ...]:
    found = ((extra, "files", "masks"), (strangers, f"lines of {SCORES}", "scores"))
    return tuple(
        f"{len(names)} {what} are {kind} of no sample here, first {_printable(names[0])}"
        for names, what, kind in found if names
    )  # fmt: skip


def _content(
    masks: Mapping[Place, Path | str],
    scores: Mapping[Place, float | str],
    workers: int,
    progress: Callable[[int], object],
) -> str:
    files = sorted({path for path in masks.values() if isinstance(path, Path)})
    contents = hash_files(files, workers, progress)
    digest = hashlib.sha256()
    for place, mask in masks.items():
        digest.update(json.dumps(["mask", place, contents[mask] if isinstance(mask, Path) else None]).encode() + b"\n")
    for place, score in scores.items():
        digest.update(json.dumps(["score", place, None if isinstance(score, str) else score]).encode() + b"\n")
    return digest.hexdigest()


def _listed(names: Sequence[str]) -> str:
    return ", ".join(_printable(name) for name in names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _printable(name: str) -> str:
    """A file's name may be no UTF-8; what is recorded must be."""
    return name.encode("utf-8", "backslashreplace").decode()
