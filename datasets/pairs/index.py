"""Pairs of one's own: a CSV of probes and donors."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from imdl_bench.errors import DataError
from imdl_bench.layouts import find_list
from imdl_bench.types import Sample

from ..folder.index import name_of, read_csv

LISTS = ("pairs.csv", "index.csv")


def index(root: Path) -> list[Sample]:
    """The pairs of a CSV file: ``root`` itself, or ``pairs.csv`` or ``index.csv`` in it.

    The columns are those of data set ``folder``; here ``donor`` is needed in every line, and ``forged`` says that the
    two images share a region. An id is ``<image>|<donor>``; the same two images may stand there once.

    Raises:
        DataError: no CSV file, a line without a donor, a pair listed twice, an absent file, or a line that cannot be
            read; names file and line.
    """
    path = find_list("pairs", root, LISTS)
    if path is None:
        raise DataError(
            f"pairs: no {' or '.join(LISTS)} in {root}: write one with the header image,donor and, as wanted, "
            "mask,donor_mask,forged,kind,group (`imdl-bench show pairs`)"
        )
    samples = []
    seen: Counter[str] = Counter()
    for line, sample in read_csv(path):
        if sample.donor is None:
            raise DataError(f"{path}:{line}: {sample.id} has no donor; every line of pairs needs one")
        name = f"{sample.id}|{name_of(path, sample.donor)}"
        seen[name] += 1
        if seen[name] > 1:
            raise DataError(f"{path}:{line}: {name} is listed twice")
        samples.append(replace(sample, id=name))
    return samples


def split_key(name: str) -> str:
    """A pair's id in lower case: both halves count."""
    return name.lower()
