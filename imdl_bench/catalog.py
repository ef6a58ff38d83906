"""Find model, data-set and protocol folders, read their cards and load them: the only door to their code."""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from imdl_bench.cards import RECORDED, CardT, DatasetCard, ModelCard, Protocol, RecipeCard, read_card
from imdl_bench.errors import CardError, ImdlBenchError, UsageError, nearest
from imdl_bench.model_spec import ModelSpec, checked_settings
from imdl_bench.types import Model, PairModel, Sample
from imdl_bench.weights import Weights, find_weights, settings_of

PUBLISHED = "results/published"
KINDS = ("models", "datasets", "protocols", PUBLISHED)
ONE_FILE = {"protocols": "*.yaml", PUBLISHED: "*.csv"}  # kinds that are files; the others are folders with a card


def extra_roots() -> list[str]:
    """Folders besides the package itself that hold ``models/``, ``datasets/``, ``protocols/``, ``results/published``.

    The checkout's root when the package runs from a checkout, and the folders in ``IMDL_BENCH_PATH``.
    """
    checkout = Path(__file__).resolve().parents[1]
    roots = [str(checkout)] if (checkout / "pyproject.toml").is_file() and (checkout / "models").is_dir() else []
    plugins = [folder for folder in os.environ.get("IMDL_BENCH_PATH", "").split(os.pathsep) if folder]
    return roots + [str(Path(folder).expanduser().resolve()) for folder in plugins]


def list_models() -> list[str]:
    """Names of every model, sorted."""
    return sorted(_cards("models"))


def list_datasets() -> list[str]:
    """Names of every data set, sorted."""
    return sorted(_cards("datasets"))


def list_protocols() -> list[str]:
    """Names of every protocol, sorted."""
    return sorted(_cards("protocols"))


def published_papers() -> dict[str, Path]:
    """The CSV file of every paper whose numbers are known, by the paper's name, sorted."""
    return dict(sorted(_cards(PUBLISHED).items()))


def card_path(kind: str, name: str) -> Path:
    """The card file of a model, data set or protocol. Raises UsageError with the nearest known name."""
    known = _cards(kind)
    if name not in known:
        noun = {"models": "model", "datasets": "data set", "protocols": "protocol"}[kind]
        raise UsageError(f"no {noun} {name!r}{nearest(name, known)} (`imdl-bench list {kind}` shows all)")
    return known[name]


def model_card(name: str) -> ModelCard:
    """The validated card of a model."""
    return _named(card_path("models", name), ModelCard)


def model_folder(name: str) -> Path:
    """Where a model's card, code and packaged weights lie."""
    return card_path("models", name).parent


def model_recipe(name: str) -> RecipeCard:
    """The validated recipe.yaml of a model. Raises UsageError where it has none: it cannot be trained."""
    path = model_folder(name) / "recipe.yaml"
    if not path.is_file():
        able = [other for other in list_models() if (model_folder(other) / "recipe.yaml").is_file()]
        raise UsageError(f"{name} has no recipe.yaml: it cannot be trained (these can: {', '.join(able) or 'none'})")
    return read_card(path, RecipeCard)


def dataset_card(name: str) -> DatasetCard:
    """The validated card of a data set."""
    return _named(card_path("datasets", name), DatasetCard)


def load_protocol(name: str | Path) -> Protocol:
    """The validated protocol of that name, or of a YAML file of one's own."""
    if str(name).endswith((".yaml", ".yml")):
        protocol = read_card(Path(name), Protocol)
        known = _cards("protocols").get(protocol.name)
        if known is not None and read_card(known, Protocol) != protocol:
            raise CardError(f"{name}: the name {protocol.name!r} belongs to {known}, which differs; rename yours")
        return protocol
    return _named(card_path("protocols", str(name)), Protocol)


def load_model(
    name: str,
    weights: str | Path | Mapping[str, Any] | Weights | None = None,
    *,
    device: str = "cpu",
    seed: int = 0,
    precision: str = "float32",
    settings: Mapping[str, Any] | None = None,
    accept_licence: bool = False,
    compile: bool = False,
    plain: bool = False,
) -> Model | PairModel:
    """Build a model, ready to ``predict``.

    Args:
        name: as in :func:`list_models`.
        weights: a name from the card, ``"random"``, ``"official:PATH"`` (a file or folder in the authors' own layout),
            a ``.safetensors`` file that imdl-bench wrote, or a dict of official keys with arrays or tensors. Models
            without weights (the classical baselines) take none.
        device: where a network runs; models without weights always run on the CPU.
        seed: of random weights.
        precision: ``float32``, ``bfloat16`` or ``float16``; networks only.
        settings: choices that the card offers, such as ``{"backbone": "resnet50"}``; otherwise those that a
            ``.safetensors`` file was written for, and the card's defaults.
        accept_licence: you have read the licence of the weights, which restricts their use, and may use them.
        compile: let ``torch.compile`` make the network faster; its first calls then take minutes.
        plain: leave a network as its authors wrote it, to train, save or look into it. Otherwise it is folded and laid
            out for speed (``TorchModel.fold``), which moves masks by less than 1e-5.

    Raises:
        UsageError: unknown name, setting or weights, weights for a model that has none, weights that do not fit (every
            missing and extra key and wrong shape is listed), a model that cannot be built, or ``compile``
            for a model that is no TorchModel or on a machine where it does not work.
        DataError: a file of weights is not what the card says.
        CardError: the card's ``entry`` cannot be imported.
    """
    card = model_card(name)
    if isinstance(weights, (str, Path)) and card.weights is not None:
        settings = settings_of(card, weights, model_folder(name)) | dict(settings or {})
    chosen = checked_settings(card, settings or {})
    arguments: dict[str, Any] = {"settings": chosen} if card.settings else {}
    if card.weights is not None:
        if not isinstance(weights, Weights):
            weights = find_weights(card, weights, seed=seed, accept_licence=accept_licence, folder=model_folder(name))
        elif weights.model != name:
            raise UsageError(f"weights of {weights.model} are not those of {name}")
        arguments = {"weights": weights, "device": device, "precision": precision, "settings": chosen}
    elif weights is not None:
        raise UsageError(f"{name} has no weights: write --model {name}, not {name}@{weights}")
    build = model_entry(name)
    try:
        model: Any = build(**arguments)
        if not plain and getattr(model, "folded", None) is False:  # a TorchModel
            model.fold()
    except ImdlBenchError:
        raise
    except Exception as error:
        raise UsageError(f"{name}: cannot be built: {type(error).__name__}: {error}") from error
    if not callable(getattr(model, "predict", None)):
        raise CardError(f"{card_path('models', name)}: entry {card.entry!r} has no method predict")
    if compile:
        _compile(name, model)
    ready: Model | PairModel = model
    return ready


def _compile(name: str, model: Any) -> None:
    if not callable(getattr(model, "compile", None)):
        raise UsageError(f"{name} cannot be compiled, it is no TorchModel; leave --compile out")
    model.compile()


def read_spec(text: str) -> tuple[ModelSpec, ModelCard]:
    """A model as a user writes it, in the one spelling that tables use, and its card.

    Settings that are not written are those that its safetensors file was written for.

    Raises:
        UsageError: an unknown model or setting, or a damaged file.
    """
    if text.partition(":")[0] == RECORDED:
        raise UsageError(
            f"{text}: {RECORDED}:DIR scores masks and scores that exist already, behind --model of `imdl-bench run` "
            f"(how: `imdl-bench show {RECORDED}`); it cannot be asked for new ones"
        )
    written = ModelSpec.parse(text)
    card = model_card(written.name)
    if written.weights is not None and card.weights is not None:
        own = settings_of(card, written.weights, model_folder(written.name))
        written = ModelSpec(written.name, tuple((own | dict(written.settings)).items()), written.weights)
    return written.checked(card), card


def spec_weights(spec: ModelSpec, card: ModelCard, *, seed: int, accept_licence: bool) -> Weights | None:
    """The weights that a model is written with, found and verified; ``None`` of a model that has none.

    Raises:
        UsageError: weights for a model that has none; and as :func:`~imdl_bench.weights.find_weights`.
    """
    if card.weights is not None:
        folder = model_folder(card.name)
        return find_weights(card, spec.weights, seed=seed, accept_licence=accept_licence, folder=folder)
    if spec.weights is not None:
        raise UsageError(f"{spec.name} has no weights: write --model {spec.name}, not {spec}")
    return None


def convert_weights(model: str, out: Path, *, seed: int = 0, accept_licence: bool = False, half: bool = False) -> None:
    """Write the weights of ``NAME@WEIGHTS`` as one safetensors file that says where they come from.

    With ``half`` its tensors of two or more axes are float16.

    Raises:
        UsageError: as :func:`load_model`, or a file name that does not end in ``.safetensors``.
    """
    if out.suffix != ".safetensors":
        raise UsageError(f"{out}: the file's name must end in .safetensors, so that it is known for what it is")
    spec, card = read_spec(model)
    if card.weights is None:
        raise UsageError(f"{card.name} has no weights")
    weights = find_weights(card, spec.weights, seed=seed, accept_licence=accept_licence, folder=model_folder(card.name))
    network: Any = load_model(spec.name, weights, settings=dict(spec.settings), plain=True)
    if not hasattr(network, "save_weights"):
        raise UsageError(f"{card.name}: its weights cannot be converted, it is no TorchModel")
    network.save_weights(out, weights, half=half)


def model_entry(name: str) -> Callable[..., Any]:
    """What a model's card names as ``entry``, imported but not called. Raises CardError."""
    return _entry("models", name, model_card(name).entry)  # type: ignore[no-any-return]


def model_learner(name: str, entry: str) -> Any:
    """The class that a recipe names as ``learner``, imported. Raises CardError."""
    return _entry("models", name, entry)


def dataset_module(name: str) -> Any:
    """The Python module behind a data set's ``entry``."""
    return _module("datasets", name, dataset_card(name).entry)


def dataset_index(name: str) -> Callable[[Path], list[Sample]]:
    """The ``index`` function of a data set."""
    return _entry("datasets", name, dataset_card(name).entry)  # type: ignore[no-any-return]


def dataset_maker(name: str) -> Callable[..., list[str]]:
    """What makes a data set out of photographs: ``make(photos, out, *, count, seed, progress) -> remarks``.

    ``count`` may be ``None`` for the data set's own number; ``progress(done, of)`` is called as it goes.

    Raises:
        UsageError: no such data set, or it is not one that is made; names those that are.
        CardError: the card's ``make`` cannot be imported.
    """
    made = {other: entry for other in list_datasets() if (entry := dataset_card(other).make)}
    if name not in made:
        subject = f"{name} is not" if name in list_datasets() else f"no data set {name!r} is"
        raise UsageError(f"{subject} made from photographs; these are: {', '.join(made) or 'none'}")
    return _entry("datasets", name, made[name])  # type: ignore[no-any-return]


def fingerprint(kind: str, name: str) -> str:
    """sha256 over the code and card of a model or data set: another model can never be taken for this one."""
    return _folder_hash(card_path(kind, name).parent)


def _folder_hash(folder: Path) -> str:
    """Every file counts, weights that lie there too; only what Python compiles and people read does not."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".pyc" and path.name != "README.md":
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
            digest.update(f"{path.relative_to(folder).as_posix()}\0".encode() + content)
    return digest.hexdigest()


@cache
def _cards(kind: str) -> dict[str, Path]:
    pattern = ONE_FILE.get(kind, "*/card.yaml")
    found: dict[str, Path] = {}
    for root in _roots():
        for path in sorted((root / kind).glob(pattern)):
            name = path.stem if kind in ONE_FILE else path.parent.name
            first = found.setdefault(name, path)
            if first != path and _content(kind, first) != _content(kind, path):
                raise CardError(f"{path} and {first} have the same name {name!r} and differ; rename one")
    return found


def _content(kind: str, card: Path) -> str:
    return card.read_text(encoding="utf-8") if kind in ONE_FILE else _folder_hash(card.parent)


def _roots() -> list[Path]:
    import imdl_bench

    package, *_ = roots = [Path(folder) for folder in imdl_bench.__path__]
    for folder in roots:
        if not folder.is_dir():
            raise UsageError(f"IMDL_BENCH_PATH names {folder}, which is not a folder")
        if folder != package and not any((folder / kind).is_dir() for kind in KINDS):
            raise UsageError(
                f"IMDL_BENCH_PATH names {folder}, which holds none of {', '.join(KINDS)}; name their parent"
            )
    return roots


def _named(path: Path, kind: type[CardT]) -> CardT:
    card = read_card(path, kind)
    name = path.stem if kind is Protocol else path.parent.name
    if getattr(card, "name", name) != name:
        raise CardError(f"{path}: key 'name': {card.name!r} differs from the file's place {name!r}")  # type: ignore[attr-defined]
    return card


def _module(kind: str, name: str, entry: str) -> Any:
    module = entry.partition(":")[0]
    path = card_path(kind, name)
    try:
        return importlib.import_module(f"imdl_bench.{kind}.{name}.{module}")
    except Exception as error:  # whatever a plug-in's module does when it is imported
        raise CardError(f"{path}: entry {entry!r} cannot be imported: {error}") from error


def _entry(kind: str, name: str, entry: str) -> Any:
    attribute = entry.partition(":")[2]
    module = _module(kind, name, entry)
    if not hasattr(module, attribute):
        known = nearest(attribute, dir(module))
        raise CardError(f"{card_path(kind, name)}: entry {entry!r}: {module.__name__} has no {attribute!r}{known}")
    return getattr(module, attribute)
