"""Every network on a GPU: images per second and share of the chip's peak, beside the plain eager loop; agreement with
the CPU's leaderboard.

    python benchmarks/bench_gpu.py --out gpu.json [--device cuda] [--model NAME ...] [--size WIDTHxHEIGHT ...]

Ours is ``predict`` of many photographs, from pixels to masks. The plain loop is how a paper's script does it: one image
at a time, its input copied, the module called as its authors write it, the output copied back; inputs are prepared
beforehand, and its precision is ours, by autocast. FLOP are PyTorch's count over that call (a multiplication and an
addition are two). ``--device cpu`` runs the same on a CPU. Random weights: the arithmetic is that of trained ones.
The leaderboards compare pixel AUC on the built-in sample with float32 on the CPU, wanted within 0.001 in float32 and
0.002 below; with the weights that come with a model where some do.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench_networks import list_networks
from inputs import photograph
from machine import machine_facts
from network_cell import load_plain
from timing import Rounds, alternate

SIZES = ("256x256", "512x512", "1920x1080")
PRECISIONS = ("float32", "bfloat16", "float16")
# TFLOP/s of dense matrix products as NVIDIA states them; float32 without TF32.
PEAKS = {"H100": {"float32": 66.9, "bfloat16": 989.4, "float16": 989.4},
         "H200": {"float32": 66.9, "bfloat16": 989.4, "float16": 989.4}}  # fmt: skip
WANTED_AUC = {"float32": 0.001, "bfloat16": 0.002, "float16": 0.002}
AUC = "pixel_auc/per-image"
PACKAGED = "bench"  # weights that lie in a model's folder


@dataclass(frozen=True, slots=True)
class Speed:
    """One network at one size and precision; ``None`` where a job failed (``failed`` says why) or no peak is known.

    ``share`` is of the chip's peak in that precision, by the plain module's FLOP.
    """

    model: str
    size: str
    precision: str
    images: int
    per_second: float | None
    plain_per_second: float | None
    gflop: float | None
    share: float | None
    failed: dict[str, str]


@dataclass(frozen=True, slots=True)
class Agreement:
    """A network's pixel AUC on the sample, mean over images: in float32 on the CPU, and as measured here."""

    model: str
    precision: str
    cpu: float | None
    here: float | None

    @property
    def limit(self) -> float:
        """How far apart they may lie."""
        return WANTED_AUC[self.precision]

    @property
    def wanted(self) -> bool:
        """Whether they lie near enough."""
        return self.cpu is not None and self.here is not None and abs(self.cpu - self.here) <= self.limit


def main() -> None:
    options = _options()
    import torch

    device = torch.cuda.get_device_name(options.device) if options.device != "cpu" else "cpu"
    peaks = next((peaks for name, peaks in PEAKS.items() if name in device), {}) | dict(options.peak)
    speeds = [
        _shown(measure(name, size, precision, peaks.get(precision), options))
        for name in options.model or list_networks()
        for size in options.size or SIZES
        for precision in options.precision or PRECISIONS
    ]
    agreements = list(compare_leaderboards(options)) if options.limit else []
    for each in agreements:
        verdict = "within" if each.wanted else "NOT within"
        print(
            f"{each.model:<15}{each.precision:<10}AUC {each.cpu} on the CPU, {each.here} here: {verdict} {each.limit}"
        )
    facts = machine_facts() | {"threads": torch.get_num_threads()}
    found: dict[str, Any] = {"device": device, "machine": facts, "peaks_tflops": peaks}
    found |= {"speeds": [asdict(each) for each in speeds], "agreements": [asdict(each) for each in agreements]}
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    sys.exit(0 if all(each.wanted for each in agreements) else 1)


def measure(name: str, size: str, precision: str, peak: float | None, options: argparse.Namespace) -> Speed:
    """Median of the rounds, the two jobs taking turns; the first round, in which batches are sized, does not count."""
    from imdl_bench import catalog
    from imdl_bench.errors import PredictionError
    from imdl_bench.types import Image

    width, height = map(int, size.split("x"))
    pair = catalog.model_card(name).input == "pair"
    photos = [Image(photograph(width, height, number)) for number in range(options.images + pair)]
    inputs = [photos[: options.images], photos[1:]] if pair else [photos]
    ours: Any = catalog.load_model(name, "random", device=options.device, precision=precision, compile=options.compile)
    plain, flop = plain_loop(name, inputs, precision, options.device)
    jobs = {"ours": lambda: ours.predict(*inputs), "plain": plain}
    rounds = alternate(jobs, options.rounds, failures=(RuntimeError, MemoryError, PredictionError))
    per_second, plain_per_second = (_per_second(rounds[job], options.images) for job in ("ours", "plain"))
    gflop = flop() if not isinstance(rounds["plain"], str) else None
    share = per_second * gflop / (peak * 1e3) if peak and per_second and gflop else None
    failed = {job: words for job, words in rounds.items() if isinstance(words, str)}
    return Speed(name, size, precision, options.images, per_second, plain_per_second, gflop, share, failed)


def plain_loop(
    name: str, inputs: Sequence[Sequence[Any]], precision: str, device: str
) -> tuple[Callable[[], object], Callable[[], float]]:
    """One image after another through the plain module; and how many GFLOP one image is."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model = load_plain(name, device=device)
    rows = [[model.prepare(image)[None] for image in row] for row in zip(*inputs, strict=True)]

    def forward(row: Sequence[torch.Tensor]) -> None:
        autocast = torch.autocast(model.device.type, getattr(torch, precision), enabled=precision != "float32")
        with torch.inference_mode(), autocast:
            model.network(*(batch.to(model.device) for batch in row))
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)

    def loop() -> None:
        for row in rows:
            forward(row)

    def gflop() -> float:
        with FlopCounterMode(display=False) as counter:
            forward(rows[0])
        return float(counter.get_total_flops()) / 1e9

    return loop, gflop


def compare_leaderboards(options: argparse.Namespace) -> Iterator[Agreement]:
    """The sample scored with float32 on the CPU, and on the device in each precision."""
    from imdl_bench import catalog

    for name in options.model or list_networks():
        if catalog.model_card(name).input == "pair":
            continue  # the sample holds no pairs
        model = f"{name}@{PACKAGED if PACKAGED in (catalog.model_card(name).weights or {}) else 'random'}"
        on_cpu = _auc(model, "float32", "cpu", options)
        for precision in options.precision or PRECISIONS:
            yield Agreement(model, precision, on_cpu, _auc(model, precision, options.device, options))


def _auc(model: str, precision: str, device: str, options: argparse.Namespace) -> float | None:
    import imdl_bench
    from imdl_bench.cards import Protocol

    protocol = Protocol.model_validate({
        "name": "agreement", "version": 1, "title": "Agreement of devices", "task": "localization", "source": "none",
        "data": [{"dataset": "sample"}], "metrics": [AUC],
    })  # fmt: skip
    compiled = options.compile and device == options.device
    with tempfile.TemporaryDirectory() as out:
        result = imdl_bench.run(protocol, model, out=out, limit=options.limit, device=device,
                                precision=precision, compile=compiled)  # fmt: skip
    return next(line.value for line in result.lines if line.metric == AUC)


def _per_second(rounds: Rounds | str, images: int) -> float | None:
    return None if isinstance(rounds, str) else images / median(rounds.wall)


def _shown(speed: Speed) -> Speed:
    figures = [speed.per_second, speed.plain_per_second, speed.gflop, speed.share]
    ours, plain, gflop, share = ("-" if figure is None else f"{figure:.3g}" for figure in figures)
    print(f"{speed.model:<12}{speed.size:>10} {speed.precision:<10}{ours:>8} images/s, plain {plain:>8}, {gflop:>7} GFLOP, {share:>6} of peak  {speed.failed or ''}", flush=True)  # fmt: skip  # noqa: E501
    return speed


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", action="append", default=[], help="repeatable; every network by default")
    parser.add_argument("--size", action="append", default=[], help="WIDTHxHEIGHT, repeatable")
    parser.add_argument("--precision", action="append", default=[], choices=PRECISIONS, help="repeatable")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--images", type=int, default=64, help="of one call of predict")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=int, default=40, help="images of the sample for the agreement; 0: none")
    parser.add_argument("--peak", action="append", default=[], type=_peak, metavar="PRECISION=TFLOPS",
                        help="of a chip that is not known here")  # fmt: skip
    return parser.parse_args()


def _peak(text: str) -> tuple[str, float]:
    precision, _, number = text.partition("=")
    return precision, float(number)


if __name__ == "__main__":
    main()
