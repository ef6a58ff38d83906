"""Which figures there are, and what runs must hold for each: all that the command line needs before it draws."""

from __future__ import annotations

KINDS: dict[str, str] = {
    "robustness": "a metric over levels of distortion, with 95 % intervals",
    "roc": "true-positive against false-positive rate, of pixels and of images",
    "precision-recall": "precision against recall, of pixels and of images",
    "f1-threshold": "F1 of pooled pixels at every threshold",
    "scores": "image scores of forged and of pristine images",
    "area": "F1 of each image against its share of forged pixels",
    "file-size": "F1 of each image against the size of its file",
}
NEEDS: dict[str, str] = {
    "robustness": "levels of distortion in the protocol",
    "roc": "a pooled ranking metric in the protocol, or scores of forged and pristine images",
    "precision-recall": "a pooled ranking metric in the protocol, or scores of forged and pristine images",
    "f1-threshold": "a pooled ranking metric, or one at a best or equal-error threshold of the set, in the protocol",
    "scores": "scores of images, or masks",
    "area": "a per-image pixel metric in the protocol",
    "file-size": "a per-image pixel metric in the protocol",
}
