"""Loading: splits from card, published list or own file; polarity; sizes that differ; what is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from plugin_folder import write_text

import imdl_bench
from imdl_bench import cache, catalog, splits
from imdl_bench.cache import cache_dir, download, sha256
from imdl_bench.errors import DataError, ImageError, UsageError
from imdl_bench.images import fit_mask, resize_nearest

NAMES = ["01.png", "02.png mask/ignored.png", "99.png"]


def _card(folder: Path, more: str) -> None:
    path = folder / "datasets/edits/card.yaml"
    path.write_text(path.read_text() + more)


def _list_card(names: list[str], digest: str = "") -> str:
    digest = digest or sha256("\n".join(names).encode())
    return f"""
splits:
  test: {{about: a list, lists: [{{url: "https://example.org/list.txt", sha256: "{digest}", entries: {len(names)}}}]}}
  train: {{about: the rest, all_but: test}}
  twice: {{about: repeats, ids: [01.png, 02.png, 01.png], repeats: keep}}
"""


@pytest.fixture
def listed(with_plugin: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("IMDL_BENCH_CACHE", str(tmp_path / "own cache"))
    _card(with_plugin, _list_card(NAMES))
    return with_plugin


def _load(folder: Path, split: str = "full", **options: object) -> imdl_bench.dataset.Dataset:
    return imdl_bench.load_dataset("edits", folder / "data", split, **options)  # type: ignore[arg-type]


def test_a_published_list_is_fetched_once_and_checked(listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []

    def answer(url: str, max_bytes: int) -> bytes:
        fetched.append(url)
        return ("\r\n".join(NAMES) + "\r\n\r\n").encode()

    monkeypatch.setattr(splits, "download", answer)
    for _ in range(2):
        test = _load(listed, "test")
        assert [sample.id for sample in test] == ["01.png", "02.png"]
        assert "2 of 3 names" in test.remarks[0] and "99.png" in test.remarks[0]
    assert fetched == ["https://example.org/list.txt"]
    assert len(_load(listed, "train")) == 10
    next((cache_dir() / "splits").iterdir()).write_text("tampered with")
    _load(listed, "test")
    assert len(fetched) == 2


def test_another_list_than_the_cards_is_refused(listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "download", lambda *_: b"01.png\n")
    with pytest.raises(DataError, match=r"1 entries with sha256.*--split-file"):
        _load(listed, "test")
    assert not (cache_dir() / "splits").exists()


def test_without_network_the_way_out_is_named(listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(cache.urllib.request, "urlopen", refuse)
    with pytest.raises(DataError, match=r"example.org.*no network.*--split-file edits=FILE"):
        _load(listed, "test")


def test_only_https_and_only_the_expected_size(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("http://example.org/a", "file:///etc/passwd", "ftp://example.org/a"):
        with pytest.raises(UsageError, match="only https"):
            download(address, 10)


def test_a_split_file_replaces_the_list(listed: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("\ufeff03.png\n\n04.png\n", encoding="utf-8")
    assert [sample.id for sample in _load(listed, "test", split_file=own)] == ["03.png", "04.png"]
    assert [sample.id for sample in _load(listed, split_file=own)] == ["03.png", "04.png"]
    own.write_text("elsewhere.png\n")
    with pytest.raises(DataError, match="none of the 1 names"):
        _load(listed, split_file=own)
    with pytest.raises(UsageError, match="split file cannot be read"):
        _load(listed, split_file=tmp_path / "missing.txt")


def test_repeats_are_kept_where_the_card_says_so(listed: Path) -> None:
    assert [sample.id for sample in _load(listed, "twice")] == ["01.png", "02.png", "01.png#2"]


def test_a_split_is_a_pattern_over_ids(listed: Path, tmp_path: Path) -> None:
    card = listed / "datasets/edits/card.yaml"
    card.write_text(
        card.read_text().partition("splits:")[0]
        + "splits:\n  tens: {about: from ten up, match: '1*'}\n  rest: {about: below, all_but: tens}\n"
        + "  none: {about: nothing, match: 'x/*'}\n"
    )
    tens, rest = (imdl_bench.load_dataset("edits", listed / "data", split) for split in ("tens", "rest"))
    assert [sample.id for sample in tens] == ["10.png", "11.png"]
    assert len(rest) == 10 and not {s.id for s in rest} & {s.id for s in tens}
    with pytest.raises(DataError, match=r"edits/none: no image is called x/\*"):
        imdl_bench.load_dataset("edits", listed / "data", "none")


def test_an_unknown_split_is_met_with_the_nearest(listed: Path) -> None:
    with pytest.raises(UsageError, match="no split 'tets'; did you mean 'test'"):
        _load(listed, "tets")


def test_polarity_is_detected_over_the_set(with_plugin: Path) -> None:
    path = with_plugin / "datasets/edits/card.yaml"
    path.write_text(path.read_text() + "mask: {forged: detect}\n")
    plain = _load(with_plugin)
    assert plain.forged == "white" and "white = forged" in plain.remarks[0]
    truth = plain.read(plain[1])[1]
    for mask in (with_plugin / "data/masks").iterdir():
        cv2.imwrite(str(mask), 255 - cv2.imread(str(mask), 0))
    inverted = _load(with_plugin)
    assert inverted.forged == "black"
    np.testing.assert_array_equal(inverted.read(inverted[1])[1], truth)
    assert _load(with_plugin, forged="white").forged == "white"


def test_jpeg_ringing_is_not_forgery(with_plugin: Path) -> None:
    dataset = _load(with_plugin)
    plain = with_plugin / "data/masks/01.png"
    truth = dataset.read(dataset[1])[1]
    assert truth is not None
    cv2.imwrite(str(plain.with_suffix(".jpg")), cv2.imread(str(plain), 0), [cv2.IMWRITE_JPEG_QUALITY, 50])
    ringing = cv2.imread(str(plain.with_suffix(".jpg")), 0)
    plain.with_suffix(".jpg").rename(plain)
    assert ((ringing > 0) & ~truth).sum() > 100
    assert (dataset.read(dataset[1])[1] != truth).mean() < 0.01


def test_sizes_that_differ_are_met_by_policy(with_plugin: Path) -> None:
    path = with_plugin / "data/masks/01.png"
    mask = cv2.imread(str(path), 0)
    cv2.imwrite(str(path), mask.T)
    with pytest.raises(ImageError, match=r"01\.png: size mismatch: mask 97x131, image 131x97"):
        _load(with_plugin).read(_load(with_plugin)[1])
    turned = _load(with_plugin, size_mismatch="transpose")
    np.testing.assert_array_equal(turned.read(turned[1])[1], mask > 127)
    assert "transposed" in (turned.read_truth(turned[1], (97, 131))[1] or "")
    resized = _load(with_plugin, size_mismatch="resize").read_truth(turned[1], (97, 131))
    assert resized[0] is not None and resized[0].shape == (97, 131) and "resized" in (resized[1] or "")
    skipped = _load(with_plugin, size_mismatch="skip").read_truth(turned[1], (97, 131))
    assert skipped[0] is None and "skipped" in (skipped[1] or "")


def test_nearest_resizing_takes_pixel_centres() -> None:
    line = np.arange(10)[None]
    np.testing.assert_array_equal(resize_nearest(line, (1, 5))[0], [1, 3, 5, 7, 9])
    np.testing.assert_array_equal(resize_nearest(line[:, :2], (1, 5))[0], [0, 0, 1, 1, 1])
    mask = np.eye(4, dtype=bool)
    assert fit_mask(mask, (4, 4), "error") == (mask, None)


def test_truth_of_pristine_and_of_unmarked_images(with_plugin: Path) -> None:
    dataset = _load(with_plugin)
    truth, remark = dataset.read_truth(dataset[0], (5, 4))
    assert not dataset[0].forged and truth is not None and not truth.any() and truth.shape == (5, 4) and remark is None
    write_text(with_plugin / "datasets/edits/index.py", """
        from imdl_bench.types import Sample

        def index(root):
            return [Sample("a", root / "images/01.png", True), Sample("b", root / "images/02.png", True)]
    """)  # fmt: skip
    catalog.importlib.invalidate_caches()
    import sys

    sys.modules.pop("imdl_bench.datasets.edits.index", None)
    unmarked = _load(with_plugin)
    assert unmarked.read(unmarked[0])[1] is None


def test_what_cannot_be_loaded_says_what_to_do(with_plugin: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--data DIR"):
        imdl_bench.load_dataset("edits")
    with pytest.raises(DataError, match="does not exist"):
        imdl_bench.load_dataset("edits", tmp_path / "nowhere")
    (tmp_path / "empty/images").mkdir(parents=True)
    with pytest.raises(DataError, match="imdl-bench check edits"):
        imdl_bench.load_dataset("edits", tmp_path / "empty")


def test_the_sample_is_a_sequence_that_shows_itself() -> None:
    sample = imdl_bench.load_dataset("sample")
    assert len(sample) == len(list(sample)) == len(sample[:]) and "48 forged" in repr(sample)
    image, truth = sample.read(sample[0])
    assert truth is not None and truth.shape == image.shape[:2] and image.path == sample[0].image
