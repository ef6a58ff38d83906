"""What every network shares: checked weights, device, precision, batches within memory. A model adds its own steps."""

from __future__ import annotations

import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imdl_bench.checkpoint import load_checked, read_metadata, read_tensors, write_tensors
from imdl_bench.errors import ImageError, PredictionError, UsageError, nearest
from imdl_bench.folding import fold_norms, prefer_onednn
from imdl_bench.images import as_image
from imdl_bench.types import Image, Prediction
from imdl_bench.weights import Weights, refuse_changed

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SMALLEST_TILE = 256
FIRST_ON_GPU, THREADS_AHEAD = 2, 4
Shapes: TypeAlias = tuple[torch.Size, ...]
# An image's (or a pair's) place among those asked for, the network's inputs, the pixels they were made from.
Fed: TypeAlias = tuple[int, tuple[Tensor, ...], tuple[Image, ...]]
NO_SETTINGS: Mapping[str, Any] = MappingProxyType({})


class _Network(ABC):
    """Builds a network, loads its weights, and runs batches of it. See :class:`TorchModel`."""

    least_side: ClassVar[int] = 16
    followers: ClassVar[Mapping[str, str] | None] = None
    memory_format: ClassVar[torch.memory_format] = torch.contiguous_format
    folded: bool = False
    # On a CPU a batch takes as long as its images one by one, and more memory; and alone an answer depends on the
    # image and nothing else, down to its last bit.
    batch_pixels: int = 1
    tile: int | None = None

    def __init__(
        self,
        weights: Weights,
        *,
        device: str = "cpu",
        precision: str = "float32",
        settings: Mapping[str, Any] = NO_SETTINGS,
    ) -> None:
        if precision not in PRECISIONS:
            raise UsageError(f"no precision {precision!r}{nearest(precision, PRECISIONS)} ({', '.join(PRECISIONS)})")
        self.device = _device(device)
        if precision == "float16" and self.device.type == "cpu":
            warnings.warn("float16 is far slower than float32 on a CPU; bfloat16 is not", stacklevel=3)
        self.precision = precision
        self.settings = dict(settings)
        self._fitting: dict[Shapes, int] = {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(weights.seed)
            self.network = self.build(self.settings)
            if weights.layout == "random":
                self.settle()
        self._load(weights)
        self.network.eval().requires_grad_(False).to(self.device)

    @property
    def concurrent(self) -> bool:
        """Whether several threads may call ``predict`` at once, one image each: on the CPU."""
        return self.device.type == "cpu"

    @abstractmethod
    def build(self, settings: Mapping[str, Any]) -> nn.Module:
        """The network with fresh weights, drawn from torch's global generator, which the caller has seeded."""

    def settle(self) -> None:  # noqa: B027  (most networks need nothing)
        """What fresh weights need before they are of any use in eval mode; called with random weights only, seeded."""

    def compiled_parts(self) -> Iterable[tuple[nn.Module, str]]:
        """The methods that :meth:`compile` compiles, each by itself, with their modules.

        By default ``forward`` of the network, or of the parts of a mere container. A model whose :meth:`forward` calls
        other methods names those that do the work.
        """
        called = [self.network] if type(self.network).forward is not nn.Module.forward else self.network.children()
        return [(module, "forward") for module in called]

    def compile(self) -> None:
        """Let ``torch.compile`` fuse the network's operations.

        The first call compiles for its shape, the first of another shape for shapes of any size; both take minutes.

        Raises:
            UsageError: nothing can be compiled on this machine.
        """
        refuse_without_compiler(self.device)
        for module, method in self.compiled_parts():
            setattr(module, method, torch.compile(getattr(module, method)))

    def fold(self) -> None:
        """Make the network as fast as it can be without a number moving by more than rounding; it cannot be saved then.

        BatchNorm goes into the convolutions before it where ``followers`` allows it, weights into ``memory_format``.
        """
        if self.followers is not None:
            fold_norms(self.network, self.followers)
        if self.device.type == "cpu":
            prefer_onednn(self.network)
        self.network.to(memory_format=self.memory_format)
        self.folded = True

    @abstractmethod
    def prepare(self, image: Image) -> Tensor:
        """The network's input for one image: float32 (C, H, W) on the CPU. Equal shapes will be stacked."""

    @staticmethod
    def official_name(key: str) -> str:
        """The key that the authors' files have for one of ours, without a leading ``module.``."""
        return key

    def read_official(self, files: Sequence[Path]) -> dict[str, Tensor]:
        """All tensors of the authors' files under the authors' keys. Raises UsageError for a key in two files."""
        found: dict[str, Tensor] = {}
        for file in files:
            tensors = read_tensors(file)
            if twice := found.keys() & tensors.keys():
                raise UsageError(f"{file}: holds {min(twice)}, as another file beside it does; give the file you mean")
            found |= tensors
        return found

    def from_official(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The authors' tensors under our keys; what we do not know keeps its name, so that it is reported."""
        ours = {self.official_name(key): key for key in self.network.state_dict()}
        plain = {key.removeprefix("module."): tensor for key, tensor in tensors.items()}
        return {ours.get(key, key): tensor for key, tensor in plain.items()}

    def save_weights(self, path: Path, source: Weights, *, half: bool = False) -> None:
        """Write the network as safetensors with its provenance, to be loaded as ``NAME@FILE.safetensors``.

        What a file of ours says of its training goes along. With ``half`` all tensors of two or more axes are rounded
        to float16; statistics and biases, which it could not hold, stay.

        Raises:
            UsageError: the network was folded, so that its weights are no longer those that it was given.
        """
        if self.folded:
            raise UsageError(f"{source.model}: folded weights are not kept; load the model with plain=True to save it")
        about = {
            "format": "imdl-bench", "model": source.model, "settings": self.settings, "source": source.label,
            "source_sha256": source.identity, "trained_on": list(source.trained_on), "licence": source.licence,
            "untrained": source.untrained,
        }  # fmt: skip
        state = self.network.state_dict()
        if half:
            state = {key: tensor.half() if tensor.dim() > 1 else tensor for key, tensor in state.items()}
        write_tensors(path, state, (read_metadata(source.files[0]) if source.layout == "own" else {}) | about)

    def _load(self, weights: Weights) -> None:
        if weights.layout == "random":
            return
        if weights.layout == "own":
            tensors = self.read_official(weights.files)
            made_for = _made_for(weights, self.settings)
        elif weights.layout == "official":
            tensors, made_for = self.from_official(self.read_official(weights.files)), ""
        else:
            given = {key: torch.as_tensor(value).detach().cpu() for key, value in (weights.tensors or {}).items()}
            tensors, made_for = self.from_official(given), ""
        refuse_changed(weights)
        names = ", ".join(str(file) for file in weights.files) or weights.label
        load_checked(self.network, tensors, f"{names}{made_for}")

    def _predict(self, *inputs: Sequence[Image]) -> list[Prediction]:
        """Predictions in order; images whose network inputs have equal shapes go through the network together."""
        if len({len(images) for images in inputs}) > 1:
            raise UsageError(f"as many donors as probes are needed, not {' and '.join(str(len(i)) for i in inputs)}")
        rows = list(zip(*inputs, strict=True))
        waiting: dict[Shapes, list[Fed]] = {}
        found: dict[int, Prediction] = {}
        with self._inference(), closing(self._prepared_ahead(rows)) as ahead:
            for place, tensors in enumerate(ahead):
                shapes = tuple(tensor.shape for tensor in tensors)
                batch = waiting.setdefault(shapes, [])
                batch.append((place, tensors, rows[place]))
                if len(batch) >= self._most_of(shapes):
                    found |= self._run_counted(shapes, waiting.pop(shapes))
            for shapes, batch in waiting.items():
                found |= self._run_counted(shapes, batch)
        return [found[place] for place in range(len(rows))]

    def _prepared_ahead(self, rows: Sequence[tuple[Image, ...]]) -> Generator[tuple[Tensor, ...], None, None]:
        """The network's inputs, in order; a GPU need not wait for them: threads prepare what comes next."""
        if not on_gpu(self.device):
            yield from (self._prepared_row(row) for row in rows)
            return
        with ThreadPoolExecutor(THREADS_AHEAD) as pool:
            yield from pool.map(self._prepared_row, rows)

    def _prepared_row(self, row: tuple[Image, ...]) -> tuple[Tensor, ...]:
        return tuple(self._prepared(image) for image in row)

    def _most_of(self, shapes: Shapes) -> int:
        """Images of these shapes per forward pass."""
        if on_gpu(self.device):
            return self._fitting.get(shapes, FIRST_ON_GPU)
        return max(1, self.batch_pixels // max(shape[-2] * shape[-1] for shape in shapes))

    def _run_counted(self, shapes: Shapes, batch: Sequence[Fed]) -> dict[int, Prediction]:
        """One batch by place; on a GPU the first of each shape tells how many fit, unless it ran out of memory."""
        if not on_gpu(self.device) or shapes in self._fitting:
            return self._run(shapes, batch)
        before = torch.cuda.memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        found = self._run(shapes, batch)
        peak = torch.cuda.max_memory_allocated(self.device) - before
        self._fitting.setdefault(shapes, images_that_fit(peak, len(batch), free_memory(self.device)))
        return found

    def _prepared(self, image: Image) -> Tensor:
        image = as_image(image)
        height, width = image.shape[:2]
        if min(height, width) < self.least_side:
            raise ImageError(
                f"an image of {width} x {height}; this network needs at least {self.least_side} pixels a side"
            )
        return self.prepare(image)

    def _run(self, shapes: Shapes, batch: Sequence[Fed]) -> dict[int, Prediction]:
        """One batch; out of memory it is halved, then cut in smaller tiles where the network can, then given up."""
        pixels, tile = self.batch_pixels, self.tile
        found = self._attempt([tensors for _, tensors, _ in batch], [row for _, _, row in batch])
        if found is not None:
            return {place: prediction for (place, _, _), prediction in zip(batch, found, strict=True)}
        if on_gpu(self.device):
            torch.cuda.empty_cache()
        # Another thread may have made them smaller meanwhile: what counts is with which ones this attempt began.
        if len(batch) > 1:
            half = len(batch) // 2
            self.batch_pixels = min(self.batch_pixels, max(1, pixels // 2))
            self._fitting[shapes] = half
            return self._run(shapes, batch[:half]) | self._run(shapes, batch[half:])
        if tile is not None and self.tile is not None and tile > SMALLEST_TILE:
            self.tile = min(self.tile, max(SMALLEST_TILE, tile // 2))
            return self._run(shapes, batch)
        height, width = batch[0][2][0].shape[:2]
        advice = "--device cpu, or --precision bfloat16" if self.device.type != "cpu" else "a machine with more memory"
        raise PredictionError(f"out of memory on {self.device} for one image of {width} x {height}; try {advice}")

    def _attempt(
        self, prepared: Sequence[tuple[Tensor, ...]], rows: Sequence[tuple[Image, ...]]
    ) -> list[Prediction] | None:
        """Predictions of one batch; None out of memory, with everything that was made for it let go."""
        try:
            batches = [to_device(tensors, self.device) for tensors in zip(*prepared, strict=True)]
            with torch.autocast(self.device.type, PRECISIONS[self.precision], enabled=self.precision != "float32"):
                outputs = self.run(*batches)
            return self.complete(outputs, *zip(*rows, strict=True))
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            return None

    @abstractmethod
    def run(self, *batches: Tensor) -> Any:
        """The network's outputs for a batch of each input."""

    @abstractmethod
    def complete(self, outputs: Any, *images: Sequence[Image]) -> list[Prediction]:
        """One prediction per image of the batch."""

    @contextmanager
    def _inference(self) -> Iterator[None]:
        with ExitStack() as held:
            held.enter_context(torch.inference_mode())
            if on_gpu(self.device):
                # A search for the fastest algorithm may end otherwise in the next run, and with it the last bits.
                # TF32 would round the inputs of float32 convolutions to 10 bits.
                flags = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
                held.enter_context(flags)
            yield


class TorchModel(_Network):
    """A network behind ``predict(images)``. A model writes :meth:`build`, :meth:`prepare`, :meth:`forward`,
    :meth:`finish`.

    Attributes:
        network: the module, in eval mode, on ``device``.
        concurrent: true on the CPU: several threads may call ``predict`` at once, one image each, so :meth:`prepare`,
            :meth:`forward` and :meth:`finish` may leave nothing behind in the model or its network. A model that does
            must say ``concurrent = False`` in its class.
        followers: which BatchNorm reads what a convolution gives, and nothing else does; see :func:`fold_norms`.
            ``None``: nothing is folded.
        memory_format: of the weights where predictions are made or the network learns; ``torch.channels_last`` is up
            to twice as fast on a CPU, where :meth:`forward` does not ask for another layout (``view``).
        folded: whether :meth:`fold` was called.
        least_side: images with a smaller side are refused with an ImageError.
        batch_pixels: pixels of network input per forward pass on the CPU, where images pass one by one unless it is
            raised. Halved when memory runs out. On a GPU a batch is as large as its memory allows.
        tile: side of the tiles that :meth:`forward` cuts large inputs into, in pixels; ``None`` where it does not.
            Halved when a single image runs out of memory. Must move no number.
    """

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        """One prediction per image, in order, whatever the batch is made of.

        Raises:
            ImageError: an image below ``least_side``, or that the network cannot take.
            PredictionError: out of memory with a single image.
        """
        return self._predict(images)

    def forward(self, batch: Tensor) -> Any:
        """The network's outputs for float32 (B, C, H, W) on ``device``. Runs under autocast unless in float32."""
        return self.network(batch)

    @abstractmethod
    def finish(self, outputs: Any, images: Sequence[Image]) -> list[Prediction]:
        """From outputs to one prediction per image: masks at each image's own size, float32 in [0, 1]."""

    def run(self, *batches: Tensor) -> Any:
        return self.forward(*batches)

    def complete(self, outputs: Any, *images: Sequence[Image]) -> list[Prediction]:
        return self.finish(outputs, *images)


class TorchPairModel(_Network):
    """A network behind ``predict(probes, donors)``; as :class:`TorchModel`, with two of everything."""

    def predict(self, probes: Sequence[Image], donors: Sequence[Image]) -> list[Prediction]:
        """One prediction per pair, in order. Raises as :meth:`TorchModel.predict`."""
        return self._predict(probes, donors)

    @abstractmethod
    def forward(self, probes: Tensor, donors: Tensor) -> Any:
        """The network's outputs for two batches (B, C, H, W) on ``device``."""

    @abstractmethod
    def finish(self, outputs: Any, probes: Sequence[Image], donors: Sequence[Image]) -> list[Prediction]:
        """One prediction per pair: ``mask`` at the probe's size, ``donor_mask`` at the donor's."""

    def run(self, *batches: Tensor) -> Any:
        return self.forward(*batches)

    def complete(self, outputs: Any, *images: Sequence[Image]) -> list[Prediction]:
        return self.finish(outputs, *images)


def to_tensor(image: Image) -> Tensor:
    """Float32 (3, H, W) in 0..255, RGB, from a photograph."""
    return torch.from_numpy(np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1)).astype(np.float32))


def to_mask(probability: Tensor) -> NDArray[np.float32]:
    """A float32 (H, W) array in [0, 1] of its own, from a (H, W) tensor; rounding beyond 0 and 1 is cut off."""
    return to_masks([probability])[0]


def to_masks(probabilities: Iterable[Tensor]) -> list[NDArray[np.float32]]:
    """As :func:`to_mask`, of several tensors of one device, whatever their sizes; a GPU is waited for once."""
    masks = [probability.float().clamp(0, 1) for probability in probabilities]
    if not masks or not on_gpu(masks[0].device):
        return [mask.numpy() for mask in masks]
    copies = [pinned(mask.shape, mask.dtype).copy_(mask, non_blocking=True) for mask in masks]
    torch.cuda.current_stream(masks[0].device).synchronize()
    # Pinned memory is scarce, and the next batch's masks may lie in the same place.
    return [copy.numpy().copy() for copy in copies]


def to_device(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    """One batch of equal tensors; to a GPU from pinned memory, so that the copy is made while the caller goes on."""
    if not on_gpu(device):
        return torch.stack(list(tensors))
    batch = pinned((len(tensors), *tensors[0].shape), tensors[0].dtype)
    return torch.stack(list(tensors), out=batch).to(device, non_blocking=True)


def on_gpu(device: torch.device) -> bool:
    """Whether copies, memory and streams are a GPU's."""
    return device.type == "cuda"


def pinned(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """An unfilled tensor in memory that a GPU copies from and to by itself. PyTorch reuses it after the copy only."""
    return torch.empty(shape, dtype=dtype, pin_memory=True)


def free_memory(device: torch.device) -> int:
    """Bytes of a GPU that a batch may take: what nobody has, and what PyTorch holds for this process unused."""
    free, _ = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))


def images_that_fit(peak: int, images: int, free: int) -> int:
    """The most images, at least 1, that fit in four fifths of ``free`` bytes, where ``images`` took ``peak`` bytes.

    What a batch takes however small it is counts as the images' own, so that larger ones take less than is thought.
    """
    return max(1, free * 4 // 5 * images // max(peak, 1))


def state_shapes(build: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    """Key and shape of every tensor in a network's state dict, in order, without the time and memory of its weights."""
    with torch.device("meta"):
        return {key: tuple(tensor.shape) for key, tensor in build().state_dict().items()}


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or on the CPU."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def refuse_without_compiler(device: torch.device) -> None:
    """Compile and run one addition. Raises UsageError where that fails: what to install, or to do without."""
    compiled = torch.compile(lambda x: x + 1)
    try:
        compiled(torch.zeros(8, device=device))
    except Exception as error:  # one of many, by what is missing
        needed = "a C++ compiler (Debian: g++)" if device.type == "cpu" else "Triton (pip install triton) and gcc"
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(
            f"torch.compile does not work here for {device.type}: {reason}. It needs {needed}; or leave --compile out"
        ) from error


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda") or (device.type == "cpu" and device.index):
        raise UsageError(f"no device {name!r}; write cpu, cuda or cuda:1")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {name}: {torch.cuda.device_count()} CUDA GPUs are visible to PyTorch; use cpu")
    return device


def _made_for(weights: Weights, settings: Mapping[str, Any]) -> str:
    """What an own file says it was written for, where that is not what it is loaded into."""
    about = read_metadata(weights.files[0])
    model = about.get("model", weights.model)
    if model != weights.model:
        raise UsageError(f"{weights.files[0]}: holds weights of {model}, not of {weights.model}")
    try:
        theirs = dict(json.loads(about.get("settings", "{}")))
    except (ValueError, TypeError):
        return ""
    other = [f"{key}={theirs[key]}" for key in theirs if theirs[key] != settings.get(key, theirs[key])]
    return f" (written for {model}:{','.join(other)})" if other else ""
