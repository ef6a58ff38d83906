"""Which weights: a name from the card, ``random``, the authors' files, or ours. Found and verified, not yet read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

from imdl_bench.cache import cache_dir, download_file, file_name
from imdl_bench.cards import UNTRAINED, ModelCard, WeightsCard
from imdl_bench.errors import DataError, UsageError, nearest

OFFICIAL = "official:"
OWN = (".safetensors",)
CHECKPOINTS = (".pth", ".pt", ".h5", ".safetensors")
MAX_BYTES = 4 << 30

Layout = Literal["random", "official", "own", "given"]


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights that were found and verified.

    Attributes:
        model: whose they are.
        label: how tables name them; says nothing of where they lie on this machine.
        layout: ``random``, ``official`` (the authors' files), ``own`` (safetensors) or ``given`` (official keys).
        identity: what the key of a run holds: changes whenever a weight does.
        files: in the card's order.
        tensors: official keys, where the caller gave them.
        seed: of random weights.
        trained_on: names of data sets; empty where unknown.
        licence: as on the card; empty where unknown.
        untrained: random, also when they come from a file: whatever they touch says so.
    """

    model: str
    label: str
    layout: Layout
    identity: str
    files: tuple[Path, ...] = ()
    tensors: Mapping[str, Any] | None = None
    seed: int = 0
    trained_on: tuple[str, ...] = ()
    licence: str = ""
    untrained: bool = False


def find_weights(
    card: ModelCard,
    wanted: str | Path | Mapping[str, Any] | None,
    *,
    seed: int = 0,
    accept_licence: bool = False,
    folder: Path | None = None,
) -> Weights:
    """Find and verify the weights a user asks for.

    Args:
        card: of a model that takes weights.
        wanted: a name from the card, ``random``, ``official:PATH`` (a file, or a folder with the authors' files
            anywhere in it), a safetensors file that imdl-bench wrote, or a dict of official keys. A path that is no
            safetensors file is taken for the authors', also without ``official:``.
        seed: of random weights.
        accept_licence: the user has read a restricting licence and may use the files under it.
        folder: the model's, where weights lie that come with it.

    Raises:
        UsageError: nothing of that name, files missing, or a licence to be accepted first.
        DataError: a file is not what the card says (wrong checksum), or cannot be fetched.
    """
    if wanted is None:
        raise UsageError(f"{card.name} needs weights: write {card.name}@WEIGHTS with {_offers(card)}")
    if isinstance(wanted, Mapping):
        return _given(card, wanted)
    if not isinstance(wanted, (str, Path)):
        raise UsageError(f"{card.name}: weights are a name, a path or a dict, not {type(wanted).__name__}")
    text = str(wanted)
    if text == UNTRAINED:
        return Weights(card.name, UNTRAINED, "random", f"random, seed {seed}", seed=seed, untrained=True)
    if text.startswith(OFFICIAL):
        return _official_files(card, _path(text.removeprefix(OFFICIAL)))
    entry = (card.weights or {}).get(text)
    if entry is not None:
        return _named(card, text, entry, fetch_weights(card, text, accept_licence=accept_licence, folder=folder))
    path = _path(text)
    if path.suffix.lower() in OWN:
        return _own_file(card, path)
    if path.exists():
        return _official_files(card, path)
    known = [*(card.weights or {}), UNTRAINED]
    raise UsageError(f"{card.name} has no weights {text!r}{nearest(text, known)} (it takes {_offers(card)})")


def settings_of(card: ModelCard, wanted: str | Path, folder: Path) -> dict[str, Any]:
    """The settings that safetensors of imdl-bench were written for; empty of any other weights, and of none.

    Args:
        wanted: as in :func:`find_weights`.
        folder: the model's.

    Raises:
        UsageError: the file is damaged.
        DataError: what it says of its settings is.
    """
    from imdl_bench.checkpoint import read_metadata

    entry = (card.weights or {}).get(str(wanted))
    if entry is not None:
        path = folder / entry.files[0] if entry.packaged else None
    else:
        path = _path(str(wanted)) if str(wanted).lower().endswith(OWN) else None
    if path is None or not path.is_file():
        return {}
    about = read_metadata(path)
    try:
        return dict(json.loads(about.get("settings", "{}"))) if about.get("model", card.name) == card.name else {}
    except (ValueError, TypeError):
        raise DataError(f"{path}: its metadata are damaged: settings is {about['settings']!r}") from None


def is_untrained(label: str) -> bool:
    """Whether a label in a table is one of random weights."""
    return label.partition("#")[0] == UNTRAINED


def refuse_changed(weights: Weights) -> None:
    """Raise DataError where a file is no longer the one that was found: its numbers would bear another's name."""
    if weights.files and _identity(weights.files) != weights.identity:
        names = ", ".join(str(file) for file in weights.files)
        raise DataError(f"{names}: changed since the run was planned; give the same command again")


def fetch_weights(card: ModelCard, name: str, *, accept_licence: bool, folder: Path | None = None) -> list[Path]:
    """The files of a set of weights on the card, verified: those that come with the model in its ``folder``, others
    downloaded to the cache where they are missing there.

    Raises:
        UsageError: the licence must be accepted first, or no address is known.
        DataError: a file cannot be fetched or is not what the card says.
    """
    entry = (card.weights or {})[name]
    if entry.unsupported:
        raise UsageError(f"{card.name}@{name} cannot be used: {entry.unsupported}")
    if entry.packaged:
        return _packaged(card, name, entry, folder)
    cached = cache_dir() / "weights" / card.name / name
    paths = [cached / file for file in entry.files]
    missing = [place for place, path in enumerate(paths) if not path.is_file()]
    if missing and not entry.url:
        names = ", ".join(entry.files[place] for place in missing)
        raise UsageError(
            f"{card.name}@{name}: no direct address is known for {names}; get them from {entry.page or card.paper} "
            f"and write {card.name}@{OFFICIAL}PATH"
        )
    if missing and entry.must_accept and not accept_licence:
        raise UsageError(
            f"{card.name}@{name} is under this licence: {entry.licence} (see {entry.page}). If you may use it, "
            "give --accept-licence (in Python accept_licence=True)"
        )
    for place in missing:
        sent = f"{entry.url[place]}: what came is not the file that the card knows"
        try:
            download_file(entry.url[place], paths[place], MAX_BYTES, check=partial(_refuse_other, entry, place, sent))
        except DataError as error:
            raise DataError(
                f"{error}; get {', '.join(entry.files)} from {entry.page or card.paper} yourself "
                f"and write {card.name}@{OFFICIAL}PATH"
            ) from None
    for place, path in enumerate(paths):
        again = "delete it to fetch it again" if entry.url else f"get it again from {entry.page}"
        _refuse_other(entry, place, f"{path}: is not the file that the card knows; {again}", path)
    return paths


def _packaged(card: ModelCard, name: str, entry: WeightsCard, folder: Path | None) -> list[Path]:
    paths = [(folder or Path()) / file for file in entry.files]
    for place, path in enumerate(paths):
        if folder is None or not path.is_file():
            raise DataError(f"{card.name}@{name}: {path} is missing; install imdl-bench again")
        _refuse_other(entry, place, f"{path}: is not the file that the card knows; install imdl-bench again", path)
    return paths


def _named(card: ModelCard, name: str, entry: WeightsCard, paths: Sequence[Path]) -> Weights:
    layout: Layout = "own" if entry.packaged else "official"
    return Weights(
        card.name, name, layout, _identity(paths), tuple(paths), trained_on=tuple(entry.trained_on),
        licence=entry.licence,
    )  # fmt: skip


def _official_files(card: ModelCard, path: Path) -> Weights:
    entries = card.weights or {}
    if path.is_file():
        for name, entry in entries.items():
            _refuse_unsupported(card, name, [path])
            if path.name in entry.files and len(entry.files) > 1:
                parts = ", ".join(entry.files)
                raise UsageError(f"{path}: is one of several files ({parts}); give the folder that holds them all")
        found = {name: [path] for name, entry in entries.items() if len(entry.files) == 1}
        files = [path]
    elif path.is_dir():
        found, files = _inside(card, path)
    else:
        raise UsageError(f"{path}: no such file or folder")
    for name, paths in found.items():
        if _matches(entries[name], paths):
            return _named(card, name, entries[name], paths)
    identity = _identity(files)
    return Weights(card.name, f"official#{identity[:8]}", "official", identity, tuple(files))


def _inside(card: ModelCard, folder: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    """The first set of weights on the card whose files all lie somewhere in a folder; without one on the card all of
    its files."""
    lacking = []
    for name, entry in (card.weights or {}).items():
        if entry.packaged:
            continue
        inside = {file: sorted(folder.rglob(file)) for file in entry.files}
        for file, places in inside.items():
            if len({_checksums(place) for place in places}) > 1:
                raise UsageError(f"{folder}: holds several different {file}; give the folder of the one you mean")
        if entry.unsupported:
            continue
        lacking += [file for file, places in inside.items() if not places]
        if all(inside.values()):
            files = [places[0] for places in inside.values()]
            return {name: files}, files
    files = sorted(file for file in folder.iterdir() if file.suffix in CHECKPOINTS)
    if lacking or not files:
        what = f"it has no {', '.join(lacking)}" if lacking else f"no file ends in {', '.join(CHECKPOINTS)}"
        raise UsageError(f"{folder}: the official files of {card.name} are not here: {what}")
    return {}, files


def _refuse_unsupported(card: ModelCard, name: str, paths: Sequence[Path]) -> None:
    """By content as well as by name: a renamed file may fit a network that it was not made for."""
    entry = (card.weights or {})[name]
    if entry.unsupported and ([path.name for path in paths] == entry.files or _matches(entry, paths)):
        raise UsageError(f"{paths[0]}: is {card.name}@{name}, which cannot be used: {entry.unsupported}")


def _own_file(card: ModelCard, path: Path) -> Weights:
    from imdl_bench.checkpoint import read_metadata

    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    about = read_metadata(path)
    try:
        trained_on = json.loads(about.get("trained_on", "[]"))
    except ValueError:
        trained_on = None
    if not isinstance(trained_on, list) or not all(isinstance(name, str) for name in trained_on):
        raise DataError(f"{path}: its metadata are damaged: trained_on is {about['trained_on']!r}, no list of names")
    identity = _identity([path])
    untrained = about.get("untrained") == "true"
    stem = file_name(path.stem).replace("@", "_")
    name = UNTRAINED if untrained else "own" if stem == UNTRAINED else stem
    return Weights(
        *(card.name, f"{name}#{identity[:8]}", "own", identity, (path,)),
        trained_on=tuple(trained_on), licence=about.get("licence", ""), untrained=untrained,
    )  # fmt: skip


def _matches(entry: WeightsCard, paths: Sequence[Path]) -> bool:
    """Whether every file is the one that the card knows, as far as it knows them."""
    sums = [_checksums(path) for path in paths]
    pairs = [
        *zip(entry.sha256, (sha256 for sha256, _ in sums), strict=False),
        *zip(entry.git_blob, (blob for _, blob in sums), strict=False),
    ]
    known = [(on_card, found) for on_card, found in pairs if on_card is not None]
    return bool(known) and len(paths) == len(entry.files) and all(on_card == found for on_card, found in known)


def _refuse_other(entry: WeightsCard, place: int, message: str, path: Path) -> None:
    sha256, git_blob = _checksums(path)
    for kind, known, found in (("sha256", entry.sha256, sha256), ("git blob id", entry.git_blob, git_blob)):
        if known and known[place] not in (None, found):
            raise DataError(f"{message} ({kind} {found}, on the card {known[place]})")


def _checksums(path: Path) -> tuple[str, str]:
    """sha256 and git blob id of a file's content, hexadecimal, in one reading."""
    about = path.stat()
    return _checksums_of(path, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=64)
def _checksums_of(path: Path, size: int, changed: int) -> tuple[str, str]:
    sha256, git_blob = hashlib.sha256(), hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            sha256.update(part)
            git_blob.update(part)
    return sha256.hexdigest(), git_blob.hexdigest()


def _identity(paths: Sequence[Path]) -> str:
    """sha256 of a single file; of several, over theirs."""
    sums = [_checksums(path)[0] for path in paths]
    return sums[0] if len(sums) == 1 else hashlib.sha256("\n".join(sums).encode()).hexdigest()


def _given(card: ModelCard, tensors: Mapping[str, Any]) -> Weights:
    import numpy as np

    strange = [str(key) for key, value in tensors.items() if not isinstance(key, str) or not hasattr(value, "shape")]
    if strange:
        raise UsageError(
            f"{card.name}: weights are a dict of names to arrays; no array is under {', '.join(strange[:8])}"
        )
    digest = hashlib.sha256()
    for key in sorted(tensors):
        value = tensors[key]
        if hasattr(value, "detach"):  # a tensor of torch, perhaps on a GPU, perhaps of a dtype that numpy lacks
            value = value.detach().cpu().double()
        values = np.ascontiguousarray(value)
        digest.update(f"{key} {values.dtype} {values.shape}\0".encode() + values.tobytes())
    identity = digest.hexdigest()
    return Weights(card.name, f"given#{identity[:8]}", "given", identity, tensors=tensors)


def _path(text: str) -> Path:
    if not text:
        raise UsageError(f"{OFFICIAL} needs the path of a file or folder")
    try:
        path = Path(text).expanduser()
        path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(f"{text[:200]}: is no path: {error}") from None
    return path


def _offers(card: ModelCard) -> str:
    names = [*(card.weights or {}), UNTRAINED]
    return f"{', '.join(names)}, {OFFICIAL}PATH or FILE.safetensors"
