"""How the numbers of a run were made, in words."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from imdl_bench import catalog
from imdl_bench.cards import RECORDED
from imdl_bench.errors import ImdlBenchError
from imdl_bench.report.folders import without_folders
from imdl_bench.runs import Run
from imdl_bench.weights import OFFICIAL, is_untrained

SHOWN_REASONS = 50


@dataclass(frozen=True, slots=True)
class Provenance:
    """One run: what a reader needs to judge its numbers and to make them again."""

    hash: str
    title: str
    command: str
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    failures: tuple[str, ...]


def provenance(run: Run, label: str) -> Provenance:
    """All that was recorded about a run, without a folder of the machine it ran on."""
    key, root = run.key, str(run.meta["root"])
    protocol = run.meta["protocol"]
    notes = [protocol.get("notes", ""), *run.meta["remarks"], run.meta.get("contamination", "")]
    return Provenance(
        hash=key.hash,
        title=f"{label}: {key.protocol} v{key.version} on {key.dataset}/{key.split}",
        command=command(run),
        facts=tuple((name, without_folders(text, root)) for name, text in _facts(run) if text),
        notes=tuple(without_folders(note.strip(), root) for note in notes if note.strip()),
        failures=tuple(_failures(run, root)),
    )


def command(run: Run) -> str:
    """The command that makes the run again; DIR and PATH stand for places on the reader's machine."""
    key = run.key
    weights = f"@{_weights(key.weights)}" if key.weights else ""
    model = f"{RECORDED}:DIR" if key.model.startswith(f"{RECORDED}:") else key.model + weights
    parts = ["imdl-bench", "run", key.protocol, "--model", model, "--dataset", key.dataset]
    if not _is_built_in(key.dataset):
        parts += ["--data", f"{key.dataset}=DIR"]
    if run.meta["split_file"]:
        parts += ["--split-file", f"{key.dataset}={run.meta['split_file']}"]
    if run.meta["limit"]:
        parts += ["--limit", str(run.meta["limit"])]
    parts += ["--seed", str(key.seed)]
    if key.device not in ("", "cpu"):
        parts += ["--device", key.device]
    precision, _, compiled = key.precision.partition("+")
    if precision not in ("", "float32"):
        parts += ["--precision", precision]
    if compiled:
        parts.append("--compile")
    return shlex.join(parts)


def _weights(label: str) -> str:
    """What is written behind the @ for weights of this label."""
    name, digits = label.partition("#")[::2]
    if is_untrained(label) or not digits:
        return name
    return f"{OFFICIAL}PATH" if name == "official" else "PATH"


def _is_built_in(dataset: str) -> bool:
    try:
        return catalog.dataset_card(dataset).built_in
    except ImdlBenchError:  # a data set of a plug-in folder that is not known here
        return False


def _facts(run: Run) -> list[tuple[str, str]]:
    key, meta = run.key, run.meta
    protocol, weights = meta["protocol"], meta.get("weights") or {}
    levels = ", ".join(run.levels)
    return [
        ("protocol", f"{key.protocol} v{key.version}: {protocol['title']} (source: {protocol['source']})"),
        ("data", f"{key.dataset}/{key.split}, {meta['n_samples']} samples, {key.rules.get('keep', 'all')} kept"),
        ("fingerprint of the data", key.data),
        ("model", key.model),
        ("fingerprint of the model's code", key.model_code),
        ("weights", key.weights),
        ("content of the weights", key.weights_content),
        ("licence of the weights", str(weights.get("licence") or "")),
        ("trained on", ", ".join(weights.get("trained_on") or ())),
        ("precision, device", ", ".join(filter(None, (key.precision, key.device)))),
        ("seed", str(key.seed)),
        ("bootstrap", f"{protocol['bootstrap']} resamples of groups of images of one photograph"),
        ("image scores", run.score_rule),
        ("pixel metrics of", f"{protocol['pixels_of']} images"),
        ("distortions", levels),
        ("libraries", _listed(key.libraries)),
        ("environment", _listed(meta["environment"])),
        ("run", key.hash),
    ]


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))


def _failures(run: Run, root: str) -> Sequence[str]:
    """A line per reason, with the images it was given for; images that fail at every level count once."""
    reasons: dict[str, dict[str, None]] = {}
    for level in run.levels:
        for row in run.rows(level):
            if row.status == "failed":
                reasons.setdefault(without_folders(row.reason or "", root), {})[row.sample] = None
    lines = [
        f"{', '.join(list(samples)[:3])}{f' and {len(samples) - 3} more' if len(samples) > 3 else ''}: {reason}"
        for reason, samples in reasons.items()
    ]
    more = [f"and {len(lines) - SHOWN_REASONS} more reasons"] if len(lines) > SHOWN_REASONS else []
    return lines[:SHOWN_REASONS] + more
