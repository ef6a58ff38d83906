"""DEFACTO-84k: the lists of MVSS-Net over the DEFACTO and COCO 2014 trees, or the trees themselves."""

from __future__ import annotations

from pathlib import Path

from imdl_bench.layouts import find_list, index_tp_gt, nothing_found, one_layout
from imdl_bench.types import Sample

from ..defacto12k.index import index_listed, index_tree, split_key

__all__ = ["index", "split_key"]

LISTS = ("DEFACTO84k-train.txt", "DEFACTO84k-val.txt", "DEFACTO84k.json")
LAYOUTS = {
    "MVSS-Net": ("DEFACTO", "CoCo2014", "Copy-Move-images", "probe_mask"),
    "Kaggle": ("copymove_img", "copymove_annotations", "probe_mask"),
    "IMDL-BenCo": ("Tp", "Gt"),
}


def index(root: Path) -> list[Sample]:
    """DEFACTO (Mahfoudi et al. 2019): copy-move, splicing and inpainting on COCO, masks ``probe_mask``, white = forged.

    With MVSS-Net's train or val list, the images of that list; without one, everything in the trees, which is more
    than 84,000 images. COCO 2014 photographs in the tree are the pristine ones; ``group`` is the COCO photograph.

    Raises:
        DataError: two lists or layouts, or none.
    """
    listed = find_list("defacto84k", root, LISTS)
    if listed:
        return index_listed("defacto84k", listed)
    flattened, tree = index_tp_gt(root), index_tree(root)
    found = {"Tp and Gt": bool(flattened), "the DEFACTO parts": any(sample.forged for sample in tree)}
    if one_layout("defacto84k", root, [name for name, there in found.items() if there]) is None:
        raise nothing_found("defacto84k", root, "copymove_img/img/0_000000000071.tif", LAYOUTS)
    return flattened or tree
