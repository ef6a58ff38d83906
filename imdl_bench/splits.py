"""Which samples belong to a split: names from the card, from a published list, or from the user's own file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from imdl_bench.cache import cache_dir, download, sha256, write_atomically
from imdl_bench.cards import DatasetCard, ListCard, SplitCard
from imdl_bench.errors import DataError, UsageError, nearest
from imdl_bench.types import Sample

MAX_LIST_BYTES = 64_000_000


def split_names(card: DatasetCard) -> list[str]:
    """Every split a data set offers; ``full`` always exists."""
    return ["full", *(name for name in card.splits if name != "full")]


def select(
    samples: Sequence[Sample],
    card: DatasetCard,
    split: str,
    key: Callable[[str], str],
    split_file: Path | None = None,
) -> tuple[list[Sample], list[str]]:
    """The samples of a split, and remarks about names that are not there.

    ``split_file`` replaces the published list of the split (same names, one per line); where it is that very list, it
    is kept in the cache as if it had been fetched. Sample order is the index's,
    except where the card keeps repeated names: those follow the list, repeats as ``<id>#2``.

    Raises:
        UsageError: the card has no such split.
        DataError: no name of the list is in the folder, or the list cannot be had or has another checksum.
    """
    if split not in split_names(card):
        raise UsageError(f"{card.name} has no split {split!r}{nearest(split, split_names(card))}")
    if split not in card.splits and split_file is None:
        return list(samples), []
    rule = card.splits.get(split, SplitCard(about="given with --split-file"))
    if split_file is not None:
        names = _read_file(split_file)
        chosen, remarks = _pick(samples, names, rule, key, f"{card.name}/{split}")
        digest = sha256("\n".join(names).encode())
        if [digest] == [published.sha256 for published in rule.lists]:
            _keep(names, digest)
        else:
            own = f"{card.name}/{split}: {len(names)} names from {split_file.name} (sha256 {digest[:12]}) in its place"
            remarks = [own, *remarks]
        return chosen, remarks
    if rule.match is not None:
        chosen = [sample for sample in samples if fnmatchcase(sample.id, rule.match)]
        return _some(chosen, f"{card.name}/{split}: no image is called {rule.match}"), []
    if rule.all_but is not None:
        other = card.splits[rule.all_but]
        if other.match is not None:
            return [sample for sample in samples if not fnmatchcase(sample.id, other.match)], []
        drop = {key(_first_field(name)) for name in _published(other, card)}
        return [sample for sample in samples if key(sample.id) not in drop], []
    return _pick(samples, _published(rule, card), rule, key, f"{card.name}/{split}")


def _some(samples: list[Sample], complaint: str) -> list[Sample]:
    if not samples:
        raise DataError(complaint)
    return samples


def read_names(text: str) -> list[str]:
    """Entries of a list file: stripped lines, blank ones left out."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def _read_file(path: Path) -> list[str]:
    try:
        return read_names(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{path}: split file cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: split file is not UTF-8 text") from None


def fetch_names(published: ListCard, dataset: str) -> list[str]:
    """The entries of a published list, from the cache or its official address, checked by sha256.

    Raises:
        DataError: not to be had, or not the list that the card was written for.
    """
    kept = _kept(published.sha256)
    if kept.is_file():
        names = read_names(kept.read_text(encoding="utf-8"))
        if sha256("\n".join(names).encode()) == published.sha256:
            return names
    advice = f"save the list yourself and give it with --split-file {dataset}=FILE"
    try:
        text = download(published.url, MAX_LIST_BYTES).decode("utf-8-sig")
    except DataError as error:
        raise DataError(f"{error}; {advice}") from None
    names = read_names(text)
    found = sha256("\n".join(names).encode())
    if found != published.sha256:
        raise DataError(f"{published.url}: {len(names)} entries with sha256 {found}, not {published.sha256}; {advice}")
    _keep(names, published.sha256)
    return names


def _kept(digest: str) -> Path:
    return cache_dir() / "splits" / f"{digest}.txt"


def _keep(names: Sequence[str], digest: str) -> None:
    write_atomically(_kept(digest), "\n".join(names).encode())


def default_key(name: str) -> str:
    """Lower-case stem of the base name: what a list entry and a sample share when a data set says nothing else."""
    return PurePosixPath(name).stem.lower()


def _published(rule: SplitCard, card: DatasetCard) -> list[str]:
    return list(rule.ids) + [name for published in rule.lists for name in fetch_names(published, card.name)]


def _first_field(line: str) -> str:
    """The image of a list line; a mask may follow after a space or comma."""
    return re.split(r"[\s,]", line, maxsplit=1)[0]


def _pick(
    samples: Sequence[Sample], names: list[str], rule: SplitCard, key: Callable[[str], str], where: str
) -> tuple[list[Sample], list[str]]:
    wanted = [key(_first_field(name)) for name in names]
    by_key: dict[str, list[Sample]] = {}
    for sample in samples:
        by_key.setdefault(key(sample.id), []).append(sample)
    absent = [name for name, entry in zip(names, wanted, strict=True) if entry not in by_key]
    if len(absent) == len(names):
        raise DataError(f"{where}: none of the {len(names)} names of the split is in the folder (first: {names[:1]})")
    remarks = []
    if absent:
        shown = ", ".join(absent[:3]) + (f", +{len(absent) - 3} more" if len(absent) > 3 else "")
        remarks = [f"{where}: {len(names) - len(absent)} of {len(names)} names of the split found (missing {shown})"]
    if rule.repeats == "drop":
        chosen = set(wanted)
        return [sample for sample in samples if key(sample.id) in chosen], remarks
    return _with_repeats([sample for entry in wanted for sample in by_key.get(entry, [])]), remarks


def _with_repeats(samples: list[Sample]) -> list[Sample]:
    seen: dict[str, int] = {}
    numbered = []
    for sample in samples:
        count = seen[sample.id] = seen.get(sample.id, 0) + 1
        numbered.append(sample if count == 1 else replace(sample, id=f"{sample.id}#{count}"))
    return numbered
