"""Write the parts of a plug-in folder: models, edited photographs, cards."""

from __future__ import annotations

import textwrap
from pathlib import Path

import cv2
import numpy as np


def write_model(folder: Path, name: str, body: str, *, outputs: str = "[mask]") -> None:
    """A plug-in model whose mask of one image is made by ``body``."""
    write_text(folder / f"models/{name}/card.yaml", f"""
        name: {name}
        title: A model made by the tests
        entry: model:Made
        outputs: {outputs}
        paper: none
    """)  # fmt: skip
    write_text(
        folder / f"models/{name}/model.py",
        "import time\nimport numpy as np\nfrom imdl_bench.types import Prediction\n\n\n"
        f"def mask_of(image):\n    {body}\n\n\n"
        "class Made:\n    def predict(self, images):\n        return [Prediction(mask=mask_of(i)) for i in images]\n",
    )


def write_edits(folder: Path, photo: np.ndarray, count: int = 12) -> None:
    """Crops of a photograph in three sizes, each with its mask; every third is pristine."""
    rng = np.random.default_rng(7)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        height, width = [(120, 160), (97, 131), (160, 120)][number % 3]
        top, left = rng.integers(0, 300, 2)
        crop = photo[top : top + height, left : left + width].copy()
        mask = np.zeros((height, width), np.uint8)
        cv2.ellipse(mask, (width // 2, height // 2), (25, 18), 30.0 * number, 0, 360, 255, -1)
        crop[mask > 0] = np.clip(crop[mask > 0].astype(int) + 60, 0, 255)
        cv2.imwrite(str(folder / f"images/{number:02}.png"), crop[..., ::-1])
        cv2.imwrite(str(folder / f"masks/{number:02}.png"), mask)


def write_text(path: Path, text: str) -> None:
    """Write an indented block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
