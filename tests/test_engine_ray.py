"""The cluster engine: the same bytes as the local one, whatever happens to its workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from plugin_folder import write_text

import imdl_bench
from imdl_bench.engine import ray as cluster
from imdl_bench.engine.tasks import CellTask, failed_shard, score_shard
from imdl_bench.errors import DataError, UsageError
from imdl_bench.planning import Options, plan_run

Cli = Callable[..., subprocess.CompletedProcess[str]]
LEVELS = "distort: [none, {gaussian_noise: {sigma: [5, 20]}}, {crop: {fraction: 0.7}}]\n"

pytest.importorskip("ray")


@pytest.fixture
def levels(plugin: Path) -> Path:
    """The plug-in folder with four levels, and a model that says which process it runs in and dies over one image."""
    with (plugin / "protocols/edits.yaml").open("a") as file:
        file.write(LEVELS)
    write_text(plugin / "models/watched/card.yaml", """
        name: watched
        title: The red channel, in a process that can be found
        entry: model:Watched
        outputs: [mask]
        paper: none
    """)  # fmt: skip
    write_text(plugin / "models/watched/model.py", """
        import os, time
        from pathlib import Path
        import numpy as np
        from imdl_bench.types import Prediction

        def red(image):
            if image.path is not None and image.path.name == os.environ.get("IMDL_BENCH_TEST_POISON"):
                os.kill(os.getpid(), 9)
            time.sleep(0.1)
            return Prediction(image[..., 0].astype(np.float32) / np.float32(255))

        class Watched:
            def __init__(self):
                (Path(os.environ["IMDL_BENCH_TEST_PIDS"]) / str(os.getpid())).touch()

            def predict(self, images):
                return [red(image) for image in images]
    """)  # fmt: skip
    (plugin / "pids").mkdir()
    return plugin


def _command(levels: Path, out: Path, *more: object) -> list[str]:
    command = [sys.executable, "-m", "imdl_bench", "run", "edits", "--data", levels / "data", "--quiet", "--out", out]
    return [str(part) for part in (*command, *more)]


def _environment(levels: Path, **more: str) -> dict[str, str]:
    return os.environ | {"IMDL_BENCH_PATH": str(levels), "IMDL_BENCH_TEST_PIDS": str(levels / "pids")} | more


def _run(levels: Path, out: Path, *more: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = _command(levels, out, *more)
    return subprocess.run(command, env=_environment(levels, **environment), capture_output=True, text=True, check=False)


def _written(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*.csv"))}


def test_a_cluster_of_two_gives_the_bytes_of_one_process(levels: Path, tmp_path: Path) -> None:
    models = ("--model", "red", "--model", "noi1")
    here = _run(levels, tmp_path / "local", *models)
    there = _run(levels, tmp_path / "ray", *models, "--engine", "ray", "--workers", 2)
    assert here.returncode == there.returncode == 0, there.stderr
    assert len(_written(tmp_path / "local")) == 3
    assert _written(tmp_path / "local") == _written(tmp_path / "ray")
    again = _run(levels, tmp_path / "ray", *models, "--engine", "ray")
    assert "already finished" in again.stdout


def test_kill_nine_of_a_worker_changes_nothing(levels: Path, tmp_path: Path) -> None:
    assert _run(levels, tmp_path / "local", "--model", "watched").returncode == 0
    for path in (levels / "pids").iterdir():
        path.unlink()
    command = _command(levels, tmp_path / "ray", "--model", "watched", "--engine", "ray", "--workers", 2)
    run = subprocess.Popen(command, env=_environment(levels), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    killed = next(_pids(levels, run))
    time.sleep(0.25)  # it is in the middle of its first images
    os.kill(killed, signal.SIGKILL)
    _, errors = run.communicate(timeout=120)
    assert run.returncode == 0, errors
    assert len(list((levels / "pids").iterdir())) >= 2, "another worker took the shard"
    assert _written(tmp_path / "local") == _written(tmp_path / "ray")


def test_an_image_that_ends_its_worker_costs_itself_alone(levels: Path, tmp_path: Path) -> None:
    assert _run(levels, tmp_path / "local", "--model", "watched").returncode == 0
    found = _run(levels, tmp_path / "ray", "--model", "watched", "--engine", "ray", "--workers", 1,
                 IMDL_BENCH_TEST_POISON="04.png")  # fmt: skip
    assert found.returncode == 1, found.stderr
    good, rows = (pd.read_csv(next((tmp_path / engine).rglob("rows.csv"))) for engine in ("local", "ray"))
    lost = rows["sample"] == "04.png"
    assert lost.sum() == 4 and (rows["status"] == "failed").sum() == 4
    assert rows[lost]["reason"].str.contains("watched: ended the worker process .* 3 times").all()
    pd.testing.assert_frame_equal(rows[~lost], good[good["sample"] != "04.png"], check_dtype=False)


def test_a_killed_driver_is_resumed_by_either_engine(levels: Path, tmp_path: Path) -> None:
    assert _run(levels, tmp_path / "local", "--model", "watched").returncode == 0
    for path in (levels / "pids").iterdir():
        path.unlink()
    command = _command(levels, tmp_path / "ray", "--model", "watched", "--engine", "ray", "--workers", 2)
    run = subprocess.Popen(command, env=_environment(levels), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    next(_pids(levels, run))
    time.sleep(1.2)
    run.kill()
    run.wait()
    done = _run(levels, tmp_path / "ray", "--model", "watched")
    assert done.returncode == 0, done.stderr
    assert _written(tmp_path / "local") == _written(tmp_path / "ray")


def _pids(levels: Path, run: subprocess.Popen[Any]) -> Iterator[int]:
    """Processes that loaded the model, as they come."""
    until = time.monotonic() + 120
    while time.monotonic() < until and run.poll() is None:
        yield from (int(path.name) for path in (levels / "pids").iterdir())
        time.sleep(0.01)
    pytest.fail("no worker loaded the model")


def test_what_a_cluster_cannot_do_is_said_before_anything_starts(levels: Path, tmp_path: Path) -> None:
    joined = _run(levels, tmp_path, "--address", "auto")
    assert joined.returncode == 2 and "only the engine ray joins a cluster" in joined.stderr


def test_a_cluster_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(address: str, **_: object) -> None:
        raise ConnectionError("nobody answers")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False, init=init))
    with pytest.raises(UsageError, match="--engine ray: auto cannot be used: nobody answers"):
        next(cluster.score_on_cluster([], "auto", None))


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'imdl-bench\[ray\]'"):
        next(cluster.score_on_cluster([], None, None))


def test_an_unknown_engine_is_refused_with_the_nearest_name(with_plugin: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no engine 'rai'; did you mean 'ray'"):
        imdl_bench.run("edits", data=with_plugin / "data", out=tmp_path, engine="rai")


@pytest.fixture
def task(with_plugin: Path, tmp_path: Path) -> CellTask:
    """The work of model `red` on the twelve edits."""
    protocol = imdl_bench.load_protocol("edits")
    options = Options(out=tmp_path, engine="ray")
    (plan,) = plan_run(protocol, [], with_plugin / "data", options, lambda _: None)
    return CellTask.of(plan, plan.cells[0], protocol, options, frozenset({("none", "00.png")}))


def test_a_worker_without_the_data_says_so(task: CellTask, with_plugin: Path) -> None:
    (with_plugin / "data").rename(with_plugin / "elsewhere")
    with pytest.raises(DataError, match="data is not there; data must lie under the same path on every machine"):
        score_shard(task, task.samples[:2], frozenset(), 1)


def test_a_worker_with_other_code_of_the_model_refuses(task: CellTask, with_plugin: Path) -> None:
    with (with_plugin / "models/red/model.py").open("a") as file:
        file.write("# changed\n")
    with pytest.raises(DataError, match="red has other code or another card than where the run was started"):
        score_shard(task, task.samples[:2], frozenset(), 1)


def test_a_shard_leaves_out_what_is_done(task: CellTask) -> None:
    assert [sample.id for _, sample in task.samples] == [f"{n:02}.png" for n in range(1, 12)]
    done = frozenset({("none", "02.png")})
    assert [row.sample for row in score_shard(task, task.samples[:3], done, 1).rows] == ["01.png", "03.png"]
    failed = failed_shard(task, task.samples[:3], done, "lost")
    assert [(row.sample, row.status, row.reason) for row in failed.rows] == [
        ("01.png", "failed", "red: lost"), ("03.png", "failed", "red: lost"),
    ]  # fmt: skip
    assert failed.count == 2 and [row.position for row in failed.rows] == [1, 3]


def _cell(gpus: float) -> Any:
    return SimpleNamespace(model=SimpleNamespace(gpus=gpus))


def _cluster(**resources: float) -> Any:
    return SimpleNamespace(cluster_resources=lambda: resources)


def test_workers_are_as_many_as_there_is_room_for() -> None:
    crews = cluster._crews(_cluster(CPU=16.0), [_cell(0.0)], None)
    assert {kind: (crew.count, crew.cpus, crew.gpus) for kind, crew in crews.items()} == {"cpu": (16, 1, 0.0)}
    assert cluster._crews(_cluster(CPU=16.0), [_cell(0.0)], 4)["cpu"].count == 4
    assert cluster._crews(_cluster(CPU=2.0), [_cell(0.0)], 4)["cpu"].count == 2


def test_networks_on_gpus_share_them_as_their_cards_say() -> None:
    has = _cluster(CPU=32.0, GPU=4.0)
    assert cluster._crews(has, [_cell(1.0)], None) == {"gpu": cluster._Crew(4, 8, 1.0)}
    assert cluster._crews(has, [_cell(0.5), _cell(0.25)], None) == {"gpu": cluster._Crew(8, 4, 0.5)}
    assert cluster._crews(has, [_cell(1.0), _cell(0.0)], None) == {
        "gpu": cluster._Crew(4, 4, 1.0), "cpu": cluster._Crew(16, 1, 0.0),
    }  # fmt: skip
    with pytest.raises(UsageError, match="asks for 1 GPUs, and Ray's cluster has 0"):
        cluster._crews(_cluster(CPU=8.0), [_cell(1.0)], None)


def test_no_worker_asks_for_processors_that_others_hold(task: CellTask) -> None:
    """All stay to the end: one without room would never start, and its work never be done."""
    for processors, graphics in ((1, 1), (4, 4), (16, 4)):
        hired = _Hired(CPU=processors, GPU=graphics)
        crews = cluster._crews(hired, [_cell(1.0), _cell(0.0)], None)
        driver = cluster._Driver(hired, [], crews, cluster.Schedule([], 1))
        for kind, crew in crews.items():
            for _ in range(crew.count):
                driver._hire(kind)
        assert sum(asked["num_cpus"] for asked in hired.asked) <= processors
        assert sum(asked["num_gpus"] for asked in hired.asked) == graphics
        # A machine with GPUs may have fewer processors than its share of the whole cluster's.
        assert all(asked["num_cpus"] == 0 for asked in hired.asked if asked["num_gpus"])


class _Hired:
    """Stands for Ray: keeps what workers ask for."""

    def __init__(self, **resources: float) -> None:
        self.asked: list[dict[str, Any]] = []
        self.cluster_resources = lambda: resources

    def remote(self, _: type) -> Any:
        def options(**asked: Any) -> Any:
            self.asked.append(asked)
            about = SimpleNamespace(remote=lambda: len(self.asked))
            return SimpleNamespace(remote=lambda *_: SimpleNamespace(about=about))

        return SimpleNamespace(options=options)


def test_a_session_that_runs_already_is_told_of_plug_ins_and_of_the_folder(levels: Path, tmp_path: Path) -> None:
    """Its workers started elsewhere, before anything of this was set."""
    script = """if True:
        import os, sys
        import ray
        os.chdir("/")
        ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
        os.chdir(sys.argv[1])
        os.environ["IMDL_BENCH_PATH"] = "."
        import imdl_bench
        for out in ("ray", "again"):
            print(imdl_bench.run("edits", "red", "data", out=out, engine="ray").n_failed, ray.is_initialized())
    """
    environment = {name: value for name, value in os.environ.items() if name != "IMDL_BENCH_PATH"}
    environment |= {"PYTHONPATH": str(Path(imdl_bench.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", script, levels], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "0 True\n0 True\n", done.stderr
    assert _run(levels, tmp_path / "local", "--model", "red").returncode == 0
    assert _written(tmp_path / "local") == _written(levels / "ray") == _written(levels / "again")


def test_workers_lost_at_their_start_end_a_run_only_one_after_another() -> None:
    hired = _Hired(CPU=1)
    driver = cluster._Driver(hired, [], {"cpu": cluster._Crew(1, 1, 0.0)}, cluster.Schedule([], 1))
    own = {"python": ".".join(map(str, sys.version_info[:2])), **imdl_bench.records.pixel_libraries()}

    def answered(answer: bool) -> dict[str, Any]:
        if not answer:
            raise OSError("preempted")
        return {"node": "a", "libraries": own}

    hired.get = answered  # type: ignore[attr-defined]
    hired.exceptions = _FullCluster.exceptions  # type: ignore[attr-defined]
    for ready in [False, False, False, False, True] * 2:
        list(driver._take(ready, object(), "cpu", None))
    with pytest.raises(DataError, match="5 workers ended before they were ready; the last: preempted"):
        for _ in range(cluster.NEVER_READY):
            list(driver._take(False, object(), "cpu", None))


def test_a_machine_with_other_libraries_is_refused_by_name() -> None:
    own = {"python": ".".join(map(str, sys.version_info[:2])), **imdl_bench.records.pixel_libraries()}
    cluster._refuse_other_libraries({"node": "b", "libraries": own})
    with pytest.raises(DataError, match=r"machine b has numpy 1\.0 \(here "):
        cluster._refuse_other_libraries({"node": "b", "libraries": own | {"numpy": "1.0"}})


class _FullCluster:
    """Stands for Ray: the only worker starts after it has been waited for three times."""

    exceptions = SimpleNamespace(RayTaskError=KeyError, RayError=OSError)

    def __init__(self, own: dict[str, str]) -> None:
        self.waits = 0
        self._about = {"node": "a", "libraries": own}

    def put(self, cell: CellTask) -> CellTask:
        return cell

    def remote(self, _: type) -> Any:
        def score(cell: CellTask, samples: Any, done: Any) -> Any:
            return score_shard(cell, samples, done, 1)

        class Worker:
            about = SimpleNamespace(remote=lambda: "ready")
            score = SimpleNamespace(remote=lambda *given: lambda: score(*given))

        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda *_: Worker()))

    def wait(self, answers: list[Any], **_: float) -> tuple[list[Any], list[Any]]:
        self.waits += 1
        return (answers[:1], []) if self.waits > 3 else ([], answers)

    def get(self, answer: Any) -> Any:
        return self._about if answer == "ready" else answer()

    def available_resources(self) -> dict[str, float]:
        return {"GPU": 0.5}


def test_a_full_cluster_is_waited_for_with_a_word(task: CellTask, caplog: pytest.LogCaptureFixture) -> None:
    own = {"python": ".".join(map(str, sys.version_info[:2])), **imdl_bench.records.pixel_libraries()}
    crews = {"cpu": cluster._Crew(1, 1, 0.0)}
    schedule = cluster.Schedule([cluster.CellWork(len(task.samples), "red", "cpu")], 1)
    found = list(cluster._Driver(_FullCluster(own), [task], crews, schedule).run())
    assert sum(scores.count for _, scores in found) == 11
    assert [record.message for record in caplog.records] == [
        "waiting for workers: Ray's cluster has 0 CPUs, 0.5 GPUs free"
    ] * 3
