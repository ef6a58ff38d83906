"""imdl-bench: compare image-manipulation detectors; every number says how it was made."""

from __future__ import annotations

from imdl_bench import catalog

__version__ = "0.3.0"
__path__ += catalog.extra_roots()  # before anything else looks for cards

from imdl_bench.benchmark import RunResult, compare, leaderboard, run  # noqa: E402
from imdl_bench.catalog import list_datasets, list_models, list_protocols, load_model, load_protocol  # noqa: E402
from imdl_bench.dataset import load_dataset  # noqa: E402
from imdl_bench.images import read_image  # noqa: E402
from imdl_bench.types import Image, Prediction, Sample  # noqa: E402

__all__ = [
    "Image",
    "Prediction",
    "RunResult",
    "Sample",
    "__version__",
    "compare",
    "leaderboard",
    "list_datasets",
    "list_models",
    "list_protocols",
    "load_dataset",
    "load_model",
    "load_protocol",
    "read_image",
    "run",
]
