"""Cards and protocols as validated data. Errors name the file, the key and the nearest right word."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from imdl_bench.errors import CardError, nearest
from imdl_bench.images import SizePolicy

UNTRAINED = "random"  # the weights of a network that has learned nothing, in commands and tables
RECORDED = "predictions"  # stands in a model's place for masks and scores made elsewhere: predictions:DIR

# names become file names
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
CardT = TypeVar("CardT", bound=BaseModel)


class _Card(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TrainingCard(_Card):
    """How weights that come with the library were made, and what they reach; as a command printed it."""

    data: str
    samples: int = Field(ge=1, description="training examples seen")
    hours: float = Field(gt=0)
    device: str
    scores: dict[str, dict[str, float]] = Field(
        description="by data and metric, then by model: these weights, and others"
    )
    command: str


class WeightsCard(_Card):
    """One set of weights of a model: where it comes from, under which licence, trained on what.

    ``url``, ``sha256`` and ``git_blob`` have one entry per file (null where unknown), or none. A ``git_blob`` is the id
    that git gives a file's content: SHA-1 over ``blob <size>\\0`` and the content.
    """

    files: list[Name] = Field(min_length=1)
    url: list[str] = []
    sha256: list[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None] = []
    git_blob: list[Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None] = []
    page: str = ""
    licence: str
    must_accept: bool = Field(False, description="the licence restricts use: shown, and accepted before a download")
    trained_on: list[str] = []
    packaged: bool = Field(False, description="safetensors beside the card, which say their model's settings")
    training: TrainingCard | None = None
    unsupported: str = Field("", description="why these files cannot be used; they are refused by name and content")
    notes: str = ""

    @model_validator(mode="after")
    def _packaged_are_verified(self) -> WeightsCard:
        if self.packaged and (not self.sha256 or None in self.sha256):
            raise ValueError("packaged weights need their sha256")
        return self

    @model_validator(mode="after")
    def _one_entry_per_file(self) -> WeightsCard:
        for key in ("url", "sha256", "git_blob"):
            if len(getattr(self, key)) not in (0, len(self.files)):
                raise ValueError(f"{key} has {len(getattr(self, key))} entries for {len(self.files)} files")
        return self


class SettingCard(_Card):
    """A choice that a model offers, such as a smaller backbone; written ``NAME:KEY=VALUE`` behind ``--model``."""

    about: str
    default: Any
    choices: list[Any] = Field([], description="allowed values; empty where anything of the default's type is")


class SizeCard(_Card):
    """What a network sees: the photograph at its own size, or resized to ``height`` x ``width``."""

    rule: Literal["native", "fixed"] = "native"
    height: int | None = None
    width: int | None = None
    least: int = 1  # smallest side it takes, in pixels


class ModelCard(_Card):
    """``models/<name>/card.yaml``. ``weights`` is absent for methods that have none, empty where none are public."""

    name: Name
    title: str
    entry: str = Field(pattern=r"^\w+:\w+$", description="module:callable inside the model's folder")
    input: Literal["single", "pair"] = "single"
    outputs: list[Literal["mask", "score"]] = Field(min_length=1)
    size: SizeCard = SizeCard()
    gpus: float = Field(1.0, gt=0, description="share of a GPU that one worker with this network asks a cluster for")
    paper: str
    notes: str = ""
    settings: dict[str, SettingCard] = {}
    weights: dict[Name, WeightsCard] | None = None

    @field_validator("name")
    @classmethod
    def _recorded_is_taken(cls, name: str) -> str:
        if name == RECORDED:
            raise ValueError(f"{RECORDED}:DIR means masks and scores made elsewhere; choose another name")
        return name

    @field_validator("weights")
    @classmethod
    def _random_is_taken(cls, weights: dict[str, WeightsCard] | None) -> dict[str, WeightsCard] | None:
        if weights and UNTRAINED in weights:
            raise ValueError(f"{UNTRAINED!r} means random weights; choose another name")
        return weights


class MaskCard(_Card):
    """How the truth of a data set is stored. ``detect`` looks at many masks and takes the smaller side as forged."""

    forged: Literal["white", "black", "green", "detect"] = "white"
    size_mismatch: SizePolicy = "error"


class ListCard(_Card):
    """A published list of names. ``sha256`` is over its entries: stripped, blank lines left out, joined by LF."""

    url: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    entries: int = Field(ge=1)


class SplitCard(_Card):
    """One split: the names stand here (``ids``), in published lists (``lists``), or are all but another split's.

    Where a folder of the data set is a split, ``match`` says so: a pattern over ids, such as ``easy/*``, in which ``*``
    stands for any letters.
    """

    about: str
    ids: list[str] = []
    lists: list[ListCard] = []
    match: str | None = None
    all_but: str | None = None
    repeats: Literal["keep", "drop"] = "drop"


class ExpectedCard(_Card):
    """Published counts of the full data set; ``check`` compares them with what is found."""

    forged: int | None = None
    pristine: int | None = None
    masks: int | None = None


class DatasetCard(_Card):
    """``datasets/<name>/card.yaml``."""

    name: Name
    title: str
    entry: str = Field("index:index", pattern=r"^\w+:\w+$")
    make: str | None = Field(None, pattern=r"^\w+:\w+$", description="what `synth` calls where users make the data set")
    input: Literal["single", "pair"] = "single"
    source: str
    licence: str
    paper: str
    layouts: list[str] = []
    expected: ExpectedCard = ExpectedCard()
    mask: MaskCard = MaskCard()
    splits: dict[str, SplitCard] = {}
    shares: dict[str, str] = Field({}, description="data sets with some of the same photographs, and why; both ways")
    any_content: bool = Field(False, description="holds what its user puts there; its name does not say what")
    built_in: bool = False
    notes: str = ""


class DataLine(_Card):
    """One line of a protocol's ``data``."""

    dataset: str
    split: str = "full"
    keep: Literal["all", "forged", "pristine"] = "all"
    size_mismatch: SizePolicy | None = None


class TableCard(_Card):
    """The table of a paper that a protocol stands for: its numbers are shown beside ours."""

    paper: Name = Field(description="a file of results/published")
    table: str = Field(description="as printed")


class Protocol(_Card):
    """``protocols/<name>.yaml``: what is run and how it is scored; everything that moves a number stands here."""

    name: Name
    version: int = Field(ge=1)
    title: str
    task: Literal["localization", "detection", "both"]
    source: str
    data: list[DataLine] = Field(min_length=1)
    metrics: list[str] = Field(min_length=1)
    distort: list[Any] = Field([], description="levels that every image is also scored after; see docs/distortions.md")
    score: Literal["model", "mask-mean", "mask-max"] = "model"
    pixels_of: Literal["forged", "all"] = Field("forged", description="images that enter pixel metrics")
    models: list[str] = Field([], description="run when no --model is given")
    published: TableCard | None = Field(None, description="the table it stands for; absent: numbers of every paper")
    notes: str = ""
    bootstrap: int = Field(1000, ge=0, le=100_000, description="resamples behind the 95 % intervals; 0 leaves them out")


class OptimizerCard(_Card):
    """An optimiser of PyTorch; what is left out has PyTorch's default."""

    name: Literal["adam", "adamw", "sgd", "adadelta"]
    lr: float = Field(gt=0)
    betas: tuple[float, float] | None = None
    momentum: float | None = None
    weight_decay: float = Field(0.0, ge=0)
    rates: dict[str, float] = Field({}, description="learning rate as a multiple, by prefix of the parameters' names")


class ScheduleCard(_Card):
    """How learning rates change over a stage, all in proportion.

    ``constant``; ``step``: times ``factor`` every ``every`` examples; ``poly``: (1 - done / samples) ** ``power``;
    ``cosine``: from 1 down to 0; ``plateau``: times ``factor`` when ``patience`` validations brought nothing better.
    """

    name: Literal["constant", "step", "poly", "cosine", "plateau"] = "constant"
    factor: float = Field(default=0.5, gt=0, lt=1)
    every: int = Field(default=0, ge=0, description="examples")
    power: float = 0.9
    patience: int = Field(default=0, ge=0, description="validations")
    warmup: int = Field(default=0, ge=0, description="examples over which rates rise from 0 first")

    @model_validator(mode="after")
    def _says_when(self) -> ScheduleCard:
        for name, key in (("step", "every"), ("plateau", "patience")):
            if self.name == name and not getattr(self, key):
                raise ValueError(f"a schedule {name} needs {key}, 1 or more")
        return self


class Method(_Card):
    """How one model learns, whatever it learns from."""

    learner: str = Field(pattern=r"^\w+:\w+$", description="module:class inside the model's folder")
    optimizers: dict[str, OptimizerCard] = Field(min_length=1, description="one for each turn of the learner")
    schedule: ScheduleCard = ScheduleCard()
    batch: int = Field(ge=1, description="examples of one step, over all devices and accumulated batches")
    clip: float | None = Field(None, gt=0, description="largest norm of the gradient of a turn")
    options: dict[str, Any] = Field({}, description="what the learner offers, such as the form of a loss")


class Budget(_Card):
    """What is learned from, for how long, and how the best moment is chosen; the same for all models to be fair."""

    data: str = Field(description="a mix of synthesis, or `dataset`: the training split that --data names")
    side: int | None = Field(ge=32, description="height and width of the examples, in pixels; null: see the stage")
    augment: Literal["none", "flip", "dihedral"] = "none"
    samples: int = Field(ge=1, description="examples in all")
    validate_every: int = Field(ge=1, description="examples between validations")
    validation: int = Field(ge=1, description="held-out examples of a validation")
    watch: str = Field("pixel_auc/per-image", description="a metric, or `loss`: the best weights are those best in it")
    patience: int | None = Field(None, ge=1, description="validations without a better one that end the stage")


class Stage(Method, Budget):
    """One stage of a recipe. The next one starts from the best weights of the one before.

    A ``side`` of null gives the images of a data set at their own sizes, for learners that bring them to one size
    themselves, such as those that look for traces of JPEG first.
    """

    name: Name
    keep: list[str] = Field([""], description="prefixes of the network's weights that are kept from the stage before")
    freeze: list[str] = Field([], description="prefixes of the learner's parameters that do not move")

    @model_validator(mode="after")
    def _made_in_one_size(self) -> Stage:
        if self.side is None and self.data != "dataset":
            raise ValueError(f"side is null, but {self.data} is made in one size: write it, in pixels")
        return self


class Recipe(_Card):
    """How a model is trained: one or more stages."""

    source: str = Field(description="the paper's section, or why it is done so")
    stages: list[Stage] = Field(min_length=1)
    notes: str = ""


class RecipeCard(_Card):
    """``models/<name>/recipe.yaml``: recipes by name, and how the model learns under the unified one."""

    recipes: dict[Name, Recipe] = {}
    unified: Method


def read_card(path: Path, kind: type[CardT]) -> CardT:
    """Read and validate a YAML card. Raises CardError that names the file, the key and the nearest right word."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_loader())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CardError(f"{path}: cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise CardError(f"{path}: holds {type(content).__name__}, expected 'key: value' lines")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise CardError("\n".join(_explain(path, kind, problem) for problem in error.errors())) from None


def _loader() -> Any:
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _explain(path: Path, kind: type[BaseModel], problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _fields_at(kind, problem["loc"][:-1])
        return f"{path}: unknown key {where!r}{nearest(str(problem['loc'][-1]), known)}"
    if problem["type"] == "missing":
        return f"{path}: key {where!r} is missing"
    return f"{path}: key {where!r}: {problem['msg']} (found {problem['input']!r})"


def _fields_at(kind: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Field names of the model that ``location`` points into."""
    for part in location:
        if not isinstance(part, str) or part not in kind.model_fields:
            continue
        inner = _model_inside(kind.model_fields[part].annotation)
        if inner is None:
            return []
        kind = inner
    return list(kind.model_fields)


def _model_inside(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in getattr(annotation, "__args__", ()) if (found := _model_inside(part))), None)
