"""Compare a data folder with its card and with itself: what is missing, unreadable, inverted, doubled or leaked."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from imdl_bench import catalog, splits
from imdl_bench.dataset import Dataset, load_dataset
from imdl_bench.errors import DataError, ImageError
from imdl_bench.images import Forged, read_image, read_mask
from imdl_bench.layouts import list_images
from imdl_bench.types import Sample

Severity = Literal["error", "warning", "info"]
EXAMPLES, LONGEST = 3, 240  # files shown of a finding, and letters of each
COLUMNS = ("dataset", "split", "severity", "finding", "count", "file", "detail")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found.

    Attributes:
        severity: ``error`` where a run would fail or its numbers be wrong, ``warning`` where a reader of the numbers
            must know, ``info`` otherwise.
        finding: what it is, in a few words; the same words in every data set.
        count: how many files, images or groups are concerned.
        detail: what is expected, why it matters, or what to do.
        files: every file concerned with its own remark, relative to the data root.
    """

    severity: Severity
    finding: str
    count: int
    detail: str = ""
    files: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What :func:`check` found, errors first."""

    dataset: str
    split: str
    root: Path
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """No error was found; there may be warnings."""
        return not any(finding.severity == "error" for finding in self.findings)

    def table(self) -> str:
        """Text for people: a line per finding and the first files of each."""
        lines = [f"{self.dataset}/{self.split} in {self.root}"]
        width = max((len(finding.finding) for finding in self.findings), default=0)
        for finding in self.findings:
            row = f"{finding.severity:<8} {finding.finding:<{width}} {finding.count:>7}  {finding.detail}"
            lines.append(row.rstrip())
            lines += [_shortened(f"{'':9}{file}  {remark}".rstrip()) for file, remark in finding.files[:EXAMPLES]]
            if len(finding.files) > EXAMPLES:
                lines.append(f"{'':9}+{len(finding.files) - EXAMPLES} more (all with --csv FILE)")
        errors = sum(finding.severity == "error" for finding in self.findings)
        warnings = sum(finding.severity == "warning" for finding in self.findings)
        return "\n".join([*lines, f"{errors} errors, {warnings} warnings"])

    def to_csv(self, path: Path | str) -> None:
        """Write a line per file (per finding where no file is named); columns are :data:`COLUMNS`."""
        with Path(path).open("w", encoding="utf-8", newline="") as lines:
            table = csv.writer(lines, lineterminator="\n")
            table.writerow(COLUMNS)
            for finding in self.findings:
                start = (self.dataset, self.split, finding.severity, finding.finding, finding.count)
                for file, remark in finding.files or (("", ""),):
                    detail = "; ".join(part for part in (finding.detail, remark) if part)
                    table.writerow((*start, file, detail))


@dataclass(frozen=True, slots=True)
class _File:
    """What one look at a file gave; ``share`` (forged) and ``highest`` (where all is dark) are of masks."""

    size: tuple[int, int] | None = None
    digest: str = ""
    problem: str = ""
    share: float = 0.0
    highest: int = 255


def check(
    name: str,
    root: Path | str | None,
    split: str = "full",
    split_file: Path | str | None = None,
    *,
    workers: int = 1,
    progress: Callable[[int], object] = lambda _: None,
) -> CheckReport:
    """Read every file of a split once and report what is not as its card says.

    Counts, missing, unreadable and unused files; masks that are absent, of another size, empty, full, stored as 0 and
    1, or inverted as a whole; identical files; and the groups and files that occur in both ``train`` and ``test``.

    Args:
        name: as in :func:`imdl_bench.list_datasets`.
        root: the folder or list file.
        split: whose files are read; unused files and shared groups are looked for in the whole set, identical files
            among those read.
        split_file: a list of names in place of the card's.
        workers: threads that read.
        progress: told of every file read.

    Raises:
        UsageError: no such data set or split. A folder that is not the data set is a finding.
    """
    own_list = Path(split_file) if split_file else None
    try:
        whole = load_dataset(name, root)
        data = whole if (split, own_list) == ("full", None) else load_dataset(name, root, split, split_file=own_list)
    except DataError as error:
        return CheckReport(
            name, split, Path(root or ""), (Finding("error", "not readable as this data set", 1, str(error)),)
        )
    files = _look_at_all(data, workers, progress)
    findings = [
        *_counts(data, whole=data is whole),
        *_remarks(data),
        *_missing(data, files),
        *_unreadable(data, files),
        *_masks(data, files),
        *_duplicates(data, files),
        *_leaks(whole, split, own_list, files),
        *_unused(whole),
    ]
    order = ("error", "warning", "info")
    return CheckReport(
        name, split, data.root, tuple(sorted(findings, key=lambda finding: order.index(finding.severity)))
    )


def _look_at_all(data: Dataset, workers: int, progress: Callable[[int], object]) -> dict[Path, _File]:
    """One look at every distinct file: photographs and masks are shared between samples in some sets."""
    images = {path for sample in data for path in (sample.image, sample.donor) if path}
    masks = {path for sample in data for path in (sample.mask, sample.donor_mask) if path}
    paths = sorted(images | masks)
    found: dict[Path, _File] = {}
    with ThreadPoolExecutor(max_workers=workers) as pool:
        looks = pool.map(lambda path: _look(path, data.forged if path in masks else None), paths)
        for path, look in zip(paths, looks, strict=True):
            found[path] = look
            progress(1)
    return found


def _look(path: Path, forged: Forged | None) -> _File:
    if not path.is_file():
        return _File(problem="missing")
    try:
        content = path.read_bytes()
        digest = sha256(content).hexdigest()
        if forged is None:
            image = read_image(content, path)
            return _File((image.shape[0], image.shape[1]), digest)
        mask = read_mask(content, forged, path)
        # Stored as 0 and 1, a mask has nothing above half range and decodes to one side.
        dark = {"white": not mask.any(), "black": mask.all(), "green": False}[forged]
        highest = int(read_image(content, path).max()) if dark else 255
        return _File((mask.shape[0], mask.shape[1]), digest, share=float(mask.mean()), highest=highest)
    except (OSError, ImageError) as error:
        return _File(problem=str(error).removeprefix(f"{path}: "))


def _counts(data: Dataset, *, whole: bool) -> list[Finding]:
    forged = [sample for sample in data if sample.forged]
    found = {"forged": len(forged), "pristine": len(data) - len(forged), "masks": sum(bool(s.mask) for s in forged)}
    published = data.card.expected.model_dump() if whole else {}
    findings = []
    for side, count in found.items():
        expected = published.get(side)
        # A layout may lack a whole side (no pristine images in IMDL-BenCo's copies); part of a side is a broken copy.
        severity: Severity = (
            "info" if expected in (None, count) else "warning" if count == 0 and side != "masks" else "error"
        )
        detail = (
            "" if expected is None else f"as published ({expected})" if expected == count else f"expected {expected}"
        )
        findings.append(Finding(severity, f"{side} found", count, detail))
    return findings


def _remarks(data: Dataset) -> list[Finding]:
    """What loading remarked, but for the counts, which have their own lines."""
    polarity = [remark for remark in data.remarks if "polarity" in remark]
    names = [remark for remark in data.remarks if "names of the split" in remark]
    return [Finding("info", "polarity detected", 1, remark) for remark in polarity] + [
        Finding("error", "names of the split not found", 1, remark) for remark in names
    ]


def _missing(data: Dataset, files: dict[Path, _File]) -> list[Finding]:
    missing = [(path, "") for path, look in files.items() if look.problem == "missing"]
    no_mask = [(sample.image, "") for sample in data if sample.forged and sample.mask is None]
    return [
        *_listed(data, "error", "missing files", missing),
        *_listed(data, "warning", "forged without a mask", no_mask, "they count for image-level metrics only"),
    ]


def _unreadable(data: Dataset, files: dict[Path, _File]) -> list[Finding]:
    broken = [(path, look.problem) for path, look in files.items() if look.problem not in ("", "missing")]
    return _listed(data, "error", "unreadable files", broken)


def _masks(data: Dataset, files: dict[Path, _File]) -> list[Finding]:
    pairs = [(s.image, s.mask) for s in data if s.mask] + [(s.donor, s.donor_mask) for s in data if s.donor_mask]
    sizes = []
    for image, mask in pairs:
        one, other = files[image].size if image else None, files[mask].size if mask else None
        if image and one and other and one != other:
            turned = ", axes swapped" if one == other[::-1] else ""
            sizes.append((image, f"image {one[1]}x{one[0]}, mask {other[1]}x{other[0]}{turned}"))
    looks = {mask: files[mask] for _, mask in pairs if mask and files[mask].size}
    low = [(path, f"highest value {look.highest}") for path, look in looks.items() if 0 < look.highest < 128]
    dim = {path for path, _ in low}
    empty = [(path, "") for path, look in looks.items() if look.share == 0 and path not in dim]
    full = [(path, "") for path, look in looks.items() if look.share == 1 and path not in dim]
    policy = data.size_mismatch
    handled = "a run fails on them: choose size_mismatch" if policy == "error" else f"handled by: {policy}"
    return [
        *_listed(data, "error" if policy == "error" else "warning", "sizes differ", sizes, handled),
        *_listed(data, "error", "masks stored below half range", low, "store 0 and 255, not 0 and 1"),
        *_listed(data, "warning", "empty masks", empty, "no forged pixel: AUC and F1 are undefined"),
        *_listed(data, "warning", "full masks", full, "no pristine pixel: AUC is undefined"),
        *_polarity(data, [look for path, look in looks.items() if path not in dim]),
    ]


def _polarity(data: Dataset, looks: Sequence[_File]) -> list[Finding]:
    share = sum(look.share for look in looks) / len(looks) if looks else 0.0
    if share <= 0.5:
        return []
    other = {"white": "black", "black": "white", "green": "red"}[data.forged]
    advice = f"{data.forged} = forged covers {share:.1%} of {len(looks)} masks: probably {other} means forged"
    return [Finding("error", "masks probably inverted", len(looks), advice)]


def _duplicates(data: Dataset, files: dict[Path, _File]) -> list[Finding]:
    labels = {path: sample.forged for sample in data if not sample.donor for path in [sample.image]}
    by_content: dict[str, list[Path]] = {}
    for path in labels:
        if files[path].digest:
            by_content.setdefault(files[path].digest, []).append(path)
    groups = [paths for paths in by_content.values() if len(paths) > 1]
    mixed = [paths for paths in groups if len({labels[path] for path in paths}) > 1]
    same = [paths for paths in groups if paths not in mixed]
    return [
        *_listed(data, "warning", "forged identical to pristine", _first(data, mixed), "one of the labels is wrong"),
        *_listed(data, "warning", "identical images", _first(data, same), "counted more than once"),
    ]


def _shortened(line: str) -> str:
    """Dozens of identical files are one line of a table."""
    return line if len(line) <= LONGEST else line[:LONGEST] + " ... (whole with --csv FILE)"


def _first(data: Dataset, groups: Iterable[list[Path]]) -> list[tuple[Path, str]]:
    return [(paths[0], "same as " + ", ".join(_name(data, path) for path in paths[1:])) for paths in groups]


def _leaks(whole: Dataset, split: str, own_list: Path | None, files: dict[Path, _File]) -> list[Finding]:
    """Groups and identical files on both sides of every ``test`` and ``train`` where one is all but the other."""
    findings = []
    key = getattr(catalog.dataset_module(whole.card.name), "split_key", splits.default_key)
    for rest, rule in whole.card.splits.items():
        if rule.all_but is None or not {rest, rule.all_but} & {"train", "test"}:
            continue
        pair = f"{rule.all_but} and {rest}"
        try:
            given = own_list if split == rule.all_but else None
            chosen, _ = splits.select(whole.samples, whole.card, rule.all_but, key, given)
        except DataError as error:
            findings.append(Finding("info", "leakage not checked", 1, f"{pair}: {error}"))
            continue
        ids = {sample.id for sample in chosen}
        others = [sample for sample in whole if sample.id not in ids]
        groups = {sample.group for sample in chosen if sample.group}
        shared = groups & {sample.group for sample in others if sample.group}
        leaked = [sample for sample in chosen if sample.group in shared]
        if shared:
            detail = f"{pair} share {len(shared)} of {len(groups)} groups: {len(leaked)} of {len(chosen)} images"
            remarks = [(sample.image, f"group {sample.group}") for sample in leaked]
            findings += _listed(whole, "warning", "train/test leakage by group", remarks, detail)
        findings += _same_files(whole, chosen, others, pair, files)
    return findings


def _same_files(
    data: Dataset, chosen: Sequence[Sample], others: Sequence[Sample], pair: str, files: dict[Path, _File]
) -> list[Finding]:
    def digest(sample: Sample) -> str:
        return files[sample.image].digest if sample.image in files else ""

    rest = {digest(sample): sample for sample in others}
    same = [
        (s.image, f"same as {_name(data, rest[digest(s)].image)}") for s in chosen if digest(s) in rest and digest(s)
    ]
    return _listed(data, "warning", "train/test leakage by file", same, f"identical files in {pair}")


def _unused(whole: Dataset) -> list[Finding]:
    """Pictures that no sample uses. Beside a list file only folders that it names are searched."""
    used = {path for s in whole for path in (s.image, s.mask, s.donor, s.donor_mask) if path}
    if whole.root.is_dir():
        there = list_images(whole.root)
    else:
        there = [
            path for folder in sorted({path.parent for path in used}) for path in list_images(folder, recursive=False)
        ]
    masks = {(path.parent, _name_ending(path)) for s in whole for path in (s.mask, s.donor_mask) if path}
    left = [path for path in there if path not in used]
    orphans = [path for path in left if whole.root.is_dir() and (path.parent, _name_ending(path)) in masks]
    return [
        *_listed(whole, "warning", "masks without an image", [(path, "") for path in orphans], "is its image missing?"),
        *_listed(whole, "info", "files no sample uses", [(path, "") for path in left if path not in orphans]),
    ]


def _name_ending(path: Path) -> str:
    """What follows the last digit of a name: it tells ``12forged.tif`` from ``12copy.tif`` in one folder."""
    return re.split(r"\d", path.name)[-1].lower()


def _listed(
    data: Dataset, severity: Severity, finding: str, files: Sequence[tuple[Path, str]], detail: str = ""
) -> list[Finding]:
    if not files:
        return []
    named = tuple(sorted((_name(data, path), remark) for path, remark in files))
    return [Finding(severity, finding, len(named), detail, named)]


def _name(data: Dataset, path: Path) -> str:
    root = data.root if data.root.is_dir() else data.root.parent
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
