"""Seconds and peak memory of every network on one photograph of several sizes, each in a process of its own.

    python benchmarks/bench_networks.py [MODEL ...] [--size 256x256 ...] [--threads 1] [--device cpu] [--precision ...]

Memory is the peak of the resident set during the prediction above what the process held once the network was loaded;
on a GPU, what PyTorch allocated there. Random weights: the arithmetic is that of trained ones.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

SIZES = ["256x256", "1024x768", "4000x3000"]


def main() -> None:
    options = _options()
    if options.one:
        print(json.dumps(measure(options.models[0], options.size[0], options)))
        return
    from imdl_bench import catalog

    networks = [name for name in catalog.list_models() if catalog.model_card(name).weights is not None]
    print(f"{'network':<12}{'size':>11}{'seconds':>10}{'peak MiB':>10}{'loaded MiB':>12}", flush=True)
    for name in options.models or networks:
        for size in options.size or SIZES:
            command = [sys.executable, __file__, name, "--one", "--size", size, "--threads", str(options.threads),
                       "--device", options.device, "--precision", options.precision]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"{name:<12}{size:>11}  failed: {done.stderr.strip().splitlines()[-1]}", flush=True)
                continue
            found = json.loads(done.stdout)
            print(f"{name:<12}{size:>11}{found['seconds']:>10.2f}{found['peak']:>10.0f}{found['loaded']:>12.0f}", flush=True)  # fmt: skip  # noqa: E501


def measure(name: str, size: str, options: argparse.Namespace) -> dict[str, float]:
    """One prediction after one small one that warms up; of three where it takes less than ten seconds the median."""
    import cv2
    import numpy as np
    import torch
    from skimage.data import astronaut

    import imdl_bench
    from imdl_bench import catalog

    torch.set_num_threads(options.threads)
    width, height = map(int, size.split("x"))
    pair = catalog.model_card(name).input == "pair"
    model = imdl_bench.load_model(name, "random", device=options.device, precision=options.precision)
    inputs = [[imdl_bench.Image(cv2.resize(astronaut(), (width, height)))] for _ in range(1 + pair)]
    model.predict(*[[imdl_bench.Image(np.zeros((64, 64, 3), np.uint8))] for _ in inputs])
    cuda = options.device.startswith("cuda")
    loaded = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    seconds: list[float] = []
    while len(seconds) < 3 and sum(seconds) < 10:
        started = time.perf_counter()
        model.predict(*inputs)
        seconds.append(time.perf_counter() - started)
    peak = torch.cuda.max_memory_allocated() / 2**20 if cuda else _resident("VmHWM") - loaded
    return {"seconds": sorted(seconds)[len(seconds) // 2], "peak": peak, "loaded": loaded}


def _resident(kind: str) -> float:
    """MiB of this process, from Linux."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(lines[kind].split()[0]) / 1024


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--size", action="append", default=[], help="WIDTHxHEIGHT, repeatable")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--one", action="store_true", help="this process measures; for internal use")
    return parser.parse_args()


if __name__ == "__main__":
    main()
