"""From a protocol and the user's options to what is run: all that can be checked before the first image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import imdl_bench
from imdl_bench import catalog, records
from imdl_bench.cache import file_name
from imdl_bench.cards import RECORDED, DataLine, ModelCard, Protocol
from imdl_bench.contamination import contamination
from imdl_bench.dataset import Dataset, load_dataset
from imdl_bench.distortions import Distortion, parse_distortions
from imdl_bench.errors import DataError, UsageError, nearest
from imdl_bench.metrics.names import Metric, parse_metric
from imdl_bench.model_spec import ModelSpec
from imdl_bench.predictions import Folder, Recorded, match, read_folder
from imdl_bench.records import RunFile, RunKey
from imdl_bench.types import Model, PairModel, Sample
from imdl_bench.weights import Weights

Progress = Callable[[int], object]
IMAGES_ON_CPU, IMAGES_ON_GPU = 8, 64
ENGINES = ("local", "ray")


@dataclass(frozen=True, slots=True)
class _Contender:
    """Who takes part: a model, its weights found and verified, or predictions made elsewhere, found on one data set.

    ``code`` is the hash of the model's folder, or of the predictions.
    """

    spec: ModelSpec
    outputs: tuple[str, ...]
    code: str
    weights: Weights | None = None
    recorded: Recorded | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """One model on one split: its run's folder, what is recorded about it, and how many images wait.

    ``model`` is loaded where images wait and are scored in this process; it may be predictions made elsewhere.
    """

    spec: ModelSpec
    outputs: tuple[str, ...]
    weights: Weights | None
    folder: Path
    about: dict[str, Any]
    remarks: tuple[str, ...]
    todo: int
    contamination: str = ""
    model: Model | PairModel | Recorded | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """One line of a protocol's data with the cells that run on it, at every level of distortion."""

    dataset: Dataset
    samples: tuple[Sample, ...]
    distortions: tuple[Distortion, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Options:
    """How a run is done.

    ``seed`` (of the bootstrap and of random weights), ``limit`` and ``split_files`` move numbers; ``precision``,
    ``compile`` and the kind of ``device`` move them by a hair. ``address`` and ``processes`` are those of the engine
    ``ray``: of a running cluster, and how many workers, by default all that it has room for.
    """

    out: Path = Path("results")
    limit: int | None = None
    device: str = "cpu"
    precision: str = "float32"
    compile: bool = False
    accept_licence: bool = False
    batch_size: int | None = None
    workers: int = field(default_factory=records.default_workers)
    engine: str = "local"
    address: str | None = None
    processes: int | None = None
    seed: int = 0
    split_files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def images_at_once(self) -> int:
        """How many images of equal shape a model is given; a network on a GPU cuts them into what fits there."""
        if self.batch_size is not None:
            return self.batch_size
        return IMAGES_ON_GPU if self.device.startswith("cuda") else IMAGES_ON_CPU

    @property
    def arithmetic(self) -> str:
        """How networks compute, as far as it moves numbers."""
        return f"{self.precision}+compiled" if self.compile else self.precision


def plan_run(
    protocol: Protocol,
    models: Sequence[str],
    data: Path | str | Mapping[str, Path] | None,
    options: Options,
    progress: Progress,
) -> list[Plan]:
    """Check everything that can be checked before the first image is decoded, load the models that have work to do,
    and open what is there to resume.

    Raises:
        UsageError, CardError, DataError: nothing has been written yet.
    """
    metrics = _metrics(protocol)
    distortions = tuple(parse_distortions(protocol.distort))
    if not models and not protocol.models:
        raise UsageError(f"{protocol.name} names no models of its own; give --model NAME")
    if options.images_at_once < 1 or options.workers < 1 or (options.limit is not None and options.limit < 1):
        raise UsageError("batch size, workers and limit are whole numbers from 1 up")
    if options.engine not in ENGINES:
        raise UsageError(f"no engine {options.engine!r}{nearest(options.engine, ENGINES)} ({', '.join(ENGINES)})")
    if options.address and options.engine != "ray":
        raise UsageError(f"address {options.address}: only the engine ray joins a cluster")
    if not 0 <= options.seed < 1 << 63:
        raise UsageError(f"seed {options.seed} is not a whole number from 0 up, of at most 63 bits")
    used = [line.dataset for line in protocol.data]
    for name in options.split_files:
        if name not in used:
            raise UsageError(
                f"a split file is given for {name!r}, which {protocol.name} does not use{nearest(name, used)}"
            )
    wanted = [
        read_folder(text) if text.startswith(f"{RECORDED}:") else _spec(protocol, text, metrics)
        for text in models or protocol.models
    ]
    contenders = [each if isinstance(each, Folder) else _contender(*each, options) for each in wanted]
    loaded = _load_data(protocol, data, options)
    by_line = [
        tuple(_on_line(protocol, each, metrics, distortions, found, options, progress) for each in contenders)
        for found in loaded
    ]
    plans = [
        _plan_line(protocol, line, distortions, each, found, options, progress)
        for line, each, found in zip(protocol.data, by_line, loaded, strict=True)
    ]
    plans = _with_models(plans, options)
    for plan in plans:
        for cell in plan.cells:
            _record(cell, plan.dataset.root)
    return plans


def _spec(protocol: Protocol, text: str, metrics: Sequence[Metric]) -> tuple[ModelSpec, ModelCard]:
    spec, card = catalog.read_spec(text)
    for line in protocol.data:
        _refuse_other_input(protocol, line, card)
    _refuse_missing_outputs(protocol, card.name, card.outputs, metrics)
    return spec, card


def _contender(spec: ModelSpec, card: ModelCard, options: Options) -> _Contender:
    weights = catalog.spec_weights(spec, card, seed=options.seed, accept_licence=options.accept_licence)
    catalog.model_entry(spec.name)
    return _Contender(spec, tuple(card.outputs), catalog.fingerprint("models", spec.name), weights)


def _on_line(
    protocol: Protocol,
    contender: _Contender | Folder,
    metrics: Sequence[Metric],
    distortions: Sequence[Distortion],
    loaded: tuple[Dataset, tuple[Sample, ...], tuple[str, ...]],
    options: Options,
    progress: Progress,
) -> _Contender:
    """A contender on one line of the data: what a folder of predictions can do depends on it."""
    if isinstance(contender, _Contender):
        return contender
    levels = [distortion.name for distortion in distortions]
    needs = _needs(protocol, metrics)
    found = match(contender, loaded[0], loaded[1], levels, needs, options.workers, progress)
    _refuse_missing_outputs(protocol, contender.label, found.outputs, metrics)
    return _Contender(ModelSpec(contender.label), found.outputs, found.content, recorded=found)


def _with_models(plans: Sequence[Plan], options: Options) -> list[Plan]:
    """The plans with every model that has work to do here, each loaded once."""
    if options.engine != "local":
        return list(plans)
    waiting = {cell.spec: cell for plan in plans for cell in plan.cells if cell.todo and cell.model is None}
    models = {
        spec: catalog.load_model(
            spec.name, cell.weights,
            device=options.device, precision=options.precision, settings=dict(spec.settings),
            compile=options.compile and cell.weights is not None,
        )
        for spec, cell in waiting.items()
    }  # fmt: skip
    return [
        replace(plan, cells=tuple(replace(cell, model=cell.model or models.get(cell.spec)) for cell in plan.cells))
        for plan in plans
    ]


def _record(cell: Cell, root: Path) -> None:
    with RunFile(cell.folder / "run.sqlite", write=True) as file:
        file.write_meta(cell.about)
        known = {"remarks": cell.remarks, "contamination": cell.contamination, "root": str(root.absolute())}
        file.write_meta(known, replace=True)


def _metrics(protocol: Protocol) -> list[Metric]:
    """The protocol's metrics. Raises UsageError where two lines of it would not be told apart in a table."""
    metrics = [parse_metric(name) for name in protocol.metrics]
    same = [replace(metric, name="") for metric in metrics]
    for place, metric in enumerate(metrics):
        if same[place] in same[:place]:
            raise UsageError(f"{protocol.name}: metric {metric.name!r} is listed twice")
    lines = [(line.dataset, line.split) for line in protocol.data]
    for place, line in enumerate(lines):
        if line in lines[:place]:
            raise UsageError(f"{protocol.name}: {'/'.join(line)} is listed twice; make two protocols of it")
    return metrics


def _refuse_other_input(protocol: Protocol, line: DataLine, card: ModelCard) -> None:
    wanted = catalog.dataset_card(line.dataset).input
    if card.input != wanted:
        kinds = {"single": "one image at a time", "pair": "pairs of images"}
        raise UsageError(
            f"{card.name} takes {kinds[card.input]}, but {protocol.name} runs on {line.dataset}: {kinds[wanted]}"
        )


def _needs(protocol: Protocol, metrics: Sequence[Metric]) -> frozenset[str]:
    """``mask`` and ``score``: what the metrics are made from."""
    rules = {metric.rule or protocol.score for metric in metrics if metric.level == "image"}
    masked = any(metric.level == "pixel" for metric in metrics) or rules & {"mask-mean", "mask-max"}
    return frozenset((["mask"] if masked else []) + (["score"] if "model" in rules else []))


def _refuse_missing_outputs(protocol: Protocol, name: str, outputs: Sequence[str], metrics: Sequence[Metric]) -> None:
    missing = _needs(protocol, metrics) - set(outputs)
    if "mask" in missing and any(metric.level == "pixel" for metric in metrics):
        raise UsageError(f"{name} gives no mask, but {protocol.name} has pixel metrics")
    if "score" in missing:
        raise UsageError(
            f"{name} gives no score of its own: name the rule in {protocol.name}, score: mask-mean or mask-max"
        )
    if "mask" in missing:
        raise UsageError(f"{name} gives no mask, but {protocol.name} scores images by it")


def _load_data(
    protocol: Protocol, data: Path | str | Mapping[str, Path] | None, options: Options
) -> list[tuple[Dataset, tuple[Sample, ...], tuple[str, ...]]]:
    """Every line of data; where one is missing, how to run without it."""
    try:
        return [_load_line(protocol, line, data, options) for line in protocol.data]
    except (DataError, UsageError) as error:
        if len({line.dataset for line in protocol.data}) == 1:
            raise
        names = ", ".join(dict.fromkeys(line.dataset for line in protocol.data))
        raise type(error)(f"{error}. Only part of {protocol.name} ({names}): --dataset NAME, repeatable") from None


def _load_line(
    protocol: Protocol, line: DataLine, data: Path | str | Mapping[str, Path] | None, options: Options
) -> tuple[Dataset, tuple[Sample, ...], tuple[str, ...]]:
    dataset = load_dataset(
        line.dataset,
        data_root(line.dataset, data),
        line.split,
        split_file=options.split_files.get(line.dataset),
        size_mismatch=line.size_mismatch,
    )
    samples = tuple(s for s in dataset.samples if line.keep == "all" or s.forged == (line.keep == "forged"))
    if not samples:
        raise UsageError(f"{protocol.name}: {line.dataset}/{line.split} has no {line.keep} images under {dataset.root}")
    if options.limit is None or options.limit >= len(samples):
        return dataset, samples, dataset.remarks
    remark = f"limited to {options.limit} of {len(samples)} samples, evenly spaced among forged and among pristine"
    return dataset, _evenly(samples, options.limit), (*dataset.remarks, remark)


def _evenly(samples: Sequence[Sample], limit: int) -> tuple[Sample, ...]:
    """``limit`` samples in the set's proportion of forged and pristine, each evenly spaced, in the set's order."""
    forged = [place for place, sample in enumerate(samples) if sample.forged]
    pristine = [place for place, sample in enumerate(samples) if not sample.forged]
    n_forged = round(limit * len(forged) / len(samples))
    if forged and pristine and limit > 1:
        n_forged = min(max(n_forged, 1), limit - 1)
    chosen = [
        side[i * len(side) // count] for side, count in ((forged, n_forged), (pristine, limit - n_forged))
        for i in range(count)
    ]  # fmt: skip
    return tuple(samples[place] for place in sorted(chosen))


def _plan_line(
    protocol: Protocol,
    line: DataLine,
    distortions: tuple[Distortion, ...],
    contenders: Sequence[_Contender],
    loaded: tuple[Dataset, tuple[Sample, ...], tuple[str, ...]],
    options: Options,
    progress: Progress,
) -> Plan:
    dataset, samples, remarks = loaded
    decoding = {"forged": dataset.forged, "size_mismatch": dataset.size_mismatch}
    content = records.data_fingerprint(samples, decoding, options.workers, progress)
    names = [distortion.name for distortion in distortions]
    cells: dict[Path, Cell] = {}  # copies of one file of weights, or of one folder of predictions, are one run
    for each in contenders:
        cell = _plan_cell(protocol, line, names, each, content, samples, remarks, options)
        cells.setdefault(cell.folder, replace(cell, contamination=_contamination(each, dataset, samples)))
    return Plan(dataset, samples, distortions, tuple(cells.values()))


def _contamination(contender: _Contender, dataset: Dataset, samples: Sequence[Sample]) -> str:
    """Nothing is said of a model that has learned nothing; of predictions made elsewhere nobody knows."""
    weights = contender.weights
    if weights is None:
        return contamination((), dataset, samples) if contender.recorded else ""
    return "" if weights.untrained else contamination(weights.trained_on, dataset, samples)


def _plan_cell(
    protocol: Protocol,
    line: DataLine,
    distortions: Sequence[str],
    contender: _Contender,
    content: str,
    samples: Sequence[Sample],
    remarks: tuple[str, ...],
    options: Options,
) -> Cell:
    spec, weights = contender.spec, contender.weights
    rules = protocol.model_dump(mode="json", include={"metrics", "score", "pixels_of", "bootstrap"})
    key = RunKey(
        protocol=protocol.name,
        version=protocol.version,
        rules=rules | {"keep": line.keep, "distort": distortions},
        model=spec.model,
        model_code=contender.code,
        weights=weights.label if weights else "",
        weights_content=weights.identity if weights else "",
        precision=options.arithmetic if weights else "",
        device=options.device.partition(":")[0] if weights else "",
        dataset=line.dataset,
        split=line.split,
        data=content,
        seed=options.seed,
        scoring=records.SCORING_VERSION,
        libraries=records.pixel_libraries(),
    )
    # Without the name of a file, so that its copies lead to the same folder.
    name = f"{spec.model}@{weights.label.rpartition('#')[2]}" if weights else spec.model
    place = options.out / "runs" / protocol.name / file_name(name)
    folder = place / f"{line.dataset}-{file_name(line.split)}-{key.hash}"
    about = {"key": asdict(key), "n_samples": len(samples), "distortions": list(distortions)}
    about |= {"protocol": protocol.model_dump(mode="json"), "environment": records.environment()}
    split_file = options.split_files.get(line.dataset)
    about |= {"limit": options.limit, "split_file": split_file.name if split_file else None}
    about["library"] = imdl_bench.__version__
    if weights is not None:
        about["weights"] = {"licence": weights.licence, "trained_on": weights.trained_on}
        remarks = (*remarks, "untrained: random weights") if weights.untrained else remarks
    if contender.recorded is not None:
        remarks = (*remarks, *contender.recorded.remarks)
    done = _done(folder / "run.sqlite")
    todo = sum((distortion, sample.id) not in done for distortion in distortions for sample in samples)
    return Cell(spec, contender.outputs, weights, folder, about, remarks, todo, model=contender.recorded)


def _done(run: Path) -> set[tuple[str, str]]:
    if not run.exists():
        return set()
    with RunFile(run, write=True) as file:
        return file.done()


def data_root(dataset: str, data: Path | str | Mapping[str, Path] | None) -> Path | None:
    """Where a data set lies: its own folder in a mapping, ``data/<name>`` if there is one, else ``data`` itself.

    A built-in data set stays in the cache unless a mapping names a folder for it.
    """
    if data is None:
        return None
    if isinstance(data, Mapping):
        return data.get(dataset)
    if catalog.dataset_card(dataset).built_in:
        return None
    folder = Path(data).expanduser()
    if folder.is_dir():
        for inside in sorted(folder.iterdir()):
            if inside.is_dir() and inside.name.lower() == dataset:
                return inside
    return folder
