"""The wheel, built through the sdist, installed away from the checkout, holds everything."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode or not listed.stdout:
        pytest.skip("not a git checkout: what belongs to the source is not known")
    source = tmp_path_factory.mktemp("source")
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    for name in ("runs/standard/ela/rows.csv", "leaderboards/standard.csv"):  # a user's own, never to be packed
        (source / "results" / name).parent.mkdir(parents=True, exist_ok=True)
        (source / "results" / name).write_text("protocol\n")
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", out, source], check=True, capture_output=True, timeout=600
    )
    return next(out.glob("*.whl"))


def test_the_wheel_holds_every_card_and_no_more_folders(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    kinds = (("models", "*/*"), ("datasets", "*/*"), ("protocols", "*.yaml"), ("results", "published/*"))
    for kind, pattern in kinds:
        for path in (ROOT / kind).glob(pattern):
            if path.suffix in {".py", ".yaml", ".json", ".csv", ".md"}:
                assert f"imdl_bench/{path.relative_to(ROOT).as_posix()}" in names
    assert {name.split("/")[2] for name in names if name.startswith("imdl_bench/results/")} == {"published"}
    assert {name.split("/")[0] for name in names} == {"imdl_bench", names[-1].split("/")[0]}


def test_the_installed_wheel_works_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target, wheel],
        check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    code = (
        "import imdl_bench, pathlib; from imdl_bench import cli;"
        f"assert pathlib.Path(imdl_bench.__file__).is_relative_to({str(target)!r}), imdl_bench.__file__;"
        "print(*imdl_bench.list_models(), *imdl_bench.list_datasets(), *imdl_bench.list_protocols());"
        "from imdl_bench.published import match;"
        "print(match('ela', 'columbia', 'full', 'none', 'pixel_auc/pooled'));"
        "imdl_bench.run('quickstart', ['ela'], out='results', limit=4)"
    )
    environment = os.environ | {"PYTHONPATH": str(target)}
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path += {sys.path!r}; {code}"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {"ela", "columbia", "quickstart"} <= set(done.stdout.split()) and "Decimal('58.1')" in done.stdout
    assert (tmp_path / "results/leaderboards/quickstart.csv").is_file()
