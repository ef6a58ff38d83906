"""Write the parts of a plug-in folder: models, edited photographs, cards."""

from __future__ import annotations

import textwrap
from pathlib import Path

import cv2
import numpy as np
import PIL.Image


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


def write_pairs(folder: Path) -> None:
    """A pair model `twins`, a data set and a protocol `couples`: six pairs of the edits."""
    write_text(folder / "models/twins/card.yaml", """
        name: twins
        title: The red channel of both images
        entry: model:Twins
        input: pair
        outputs: [mask, score]
        paper: none
    """)  # fmt: skip
    write_text(folder / "models/twins/model.py", """
        import numpy as np
        from imdl_bench.types import Prediction

        def red(image):
            return image[..., 0].astype(np.float32) / np.float32(255)

        class Twins:
            def predict(self, probes, donors):
                return [
                    Prediction(red(probe), float(red(probe).mean(dtype=np.float64)), red(donor))
                    for probe, donor in zip(probes, donors, strict=True)
                ]
    """)  # fmt: skip
    write_text(folder / "datasets/couples/card.yaml", """
        name: couples
        title: Six pairs
        input: pair
        source: made by the tests
        licence: CC0-1.0
        paper: none
    """)  # fmt: skip
    write_text(folder / "datasets/couples/index.py", """
        from imdl_bench.types import Sample

        def index(root):
            def pair(a, b):
                forged = a % 3 > 0 and b % 3 > 0
                masks = [root / f"masks/{n:02}.png" if forged else None for n in (a, b)]
                return Sample(f"{a}|{b}", root / f"images/{a:02}.png", forged, masks[0],
                              donor=root / f"images/{b:02}.png", donor_mask=masks[1])
            return [pair(*numbers) for numbers in ((1, 2), (4, 5), (7, 8), (0, 3), (6, 9), (2, 10))]
    """)  # fmt: skip
    write_text(folder / "protocols/couples.yaml", """
        name: couples
        version: 1
        title: Six pairs
        task: both
        source: made by the tests
        data: [{dataset: couples}]
        models: [twins]
        metrics: [pixel_auc/per-image, pixel_auc/pooled, image_auc]
    """)  # fmt: skip


def write_mask(path: Path, mask: np.ndarray) -> None:
    """A recorded mask as PNG or NPY, by the name's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, mask) if path.suffix == ".npy" else PIL.Image.fromarray(mask).save(path)


def write_text(path: Path, text: str) -> None:
    """Write an indented block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
