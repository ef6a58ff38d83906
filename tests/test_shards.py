"""Which worker scores which images: driven by workers that exist only as times in a heap."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imdl_bench.engine import shards
from imdl_bench.engine.shards import ATTEMPTS, CellWork, Schedule, Shard

Step = tuple[float, int, Shard]  # when it began, the worker, what it got


@dataclass
class Course:
    """What became of a grid: every shard handed out, images scored (by cell and place), images given up, the end."""

    steps: list[Step] = field(default_factory=list)
    scored: Counter[tuple[int, int]] = field(default_factory=Counter)
    given_up: list[tuple[int, int]] = field(default_factory=list)
    end: float = 0.0


def work_off(
    cells: Sequence[CellWork],
    costs: Sequence[float],
    kinds: Sequence[str],
    ends_worker: Callable[[Shard], bool] = lambda shard: False,
) -> Course:
    """All workers at work until nothing is left; an image of cell c takes ``costs[c]`` seconds."""
    schedule, course = Schedule(cells, len(kinds)), Course()
    events: list[tuple[float, int, Shard | None]] = [(0.0, worker, None) for worker in range(len(kinds))]
    idle: set[int] = set()
    while events:
        now, worker, shard = heapq.heappop(events)
        if shard is not None:
            course.end = now
            _came_back(schedule, course, shard, costs, ends_worker)
        for each in sorted(idle | {worker}):
            following = schedule.next(each, kinds[each])
            if following is None:
                idle.add(each)
                continue
            idle.discard(each)
            course.steps.append((now, each, following))
            heapq.heappush(events, (now + len(following) * costs[following.cell], each, following))
    served = set(kinds)
    assert schedule.finished == all(cell.kind in served or not cell.images for cell in cells)
    return course


def _came_back(
    schedule: Schedule, course: Course, shard: Shard, costs: Sequence[float], ends_worker: Callable[[Shard], bool]
) -> None:
    places = [(shard.cell, image) for image in range(shard.start, shard.stop)]
    if not ends_worker(shard):
        course.scored.update(places)
        schedule.done(shard, len(shard) * costs[shard.cell])
    elif schedule.lost(shard):
        course.given_up += places


def every_image(cells: Sequence[CellWork]) -> list[tuple[int, int]]:
    return [(place, image) for place, cell in enumerate(cells) for image in range(cell.images)]


cells_of_one_kind = st.lists(st.builds(CellWork, st.integers(0, 400), st.integers(0, 3), st.just("cpu")), max_size=8)
cost = st.floats(0.001, 30.0)


@given(cells_of_one_kind, st.lists(cost, min_size=8, max_size=8), st.integers(1, 9))
def test_every_image_is_handed_out_exactly_once(cells: list[CellWork], costs: list[float], workers: int) -> None:
    course = work_off(cells, costs, ["cpu"] * workers)
    assert course.scored == Counter(every_image(cells))
    assert sum(len(shard) for _, _, shard in course.steps) == len(every_image(cells))


@given(cells_of_one_kind, st.lists(cost, min_size=8, max_size=8), st.integers(1, 9), st.randoms(use_true_random=False))
def test_what_lost_workers_had_comes_back(cells: list[CellWork], costs: list[float], workers: int, chance) -> None:
    lost: list[Shard] = []

    def ends_worker(shard: Shard) -> bool:
        if shard.losses == 0 and len(lost) < 20 and chance.random() < 0.3:
            lost.append(shard)
            return True
        return False

    course = work_off(cells, costs, ["cpu"] * workers, ends_worker)
    assert not course.given_up
    assert course.scored == Counter(every_image(cells))


@given(st.integers(1, 300), st.data(), st.integers(1, 5), cost)
@example(1, None, 1, 1.0)
def test_an_image_that_ends_every_worker_is_given_up_and_all_others_are_scored(
    images: int, data: st.DataObject | None, workers: int, seconds: float
) -> None:
    poisoned = data.draw(st.integers(0, images - 1)) if data else 0
    cells = [CellWork(images, "a", "cpu"), CellWork(20, "b", "cpu")]
    ended: list[Shard] = []

    def ends_worker(shard: Shard) -> bool:
        if shard.cell == 0 and shard.start <= poisoned < shard.stop:
            ended.append(shard)
            return True
        return False

    course = work_off(cells, [seconds, 1.0], ["cpu"] * workers, ends_worker)
    assert course.given_up == [(0, poisoned)]
    assert course.scored == Counter(place for place in every_image(cells) if place != (0, poisoned))
    assert ended[-1] == Shard(0, poisoned, poisoned + 1, ATTEMPTS - 1)
    assert len(ended) <= 2 + images.bit_length() + ATTEMPTS  # halves, not one image after the other


def test_a_lost_shard_is_tried_again_whole_and_then_in_halves() -> None:
    schedule = Schedule([CellWork(2, "a", "cpu")], 1)
    whole = schedule.next(0, "cpu")
    assert whole == Shard(0, 0, 2)
    assert not schedule.lost(whole)
    again = schedule.next(1, "cpu")
    assert again == Shard(0, 0, 2, losses=1)
    assert not schedule.lost(again)
    assert [schedule.next(2, "cpu"), schedule.next(3, "cpu")] == [Shard(0, 0, 1, 1), Shard(0, 1, 2, 1)]


@given(cells_of_one_kind.filter(len), st.lists(cost, min_size=8, max_size=8), st.integers(1, 9))
def test_the_end_is_no_later_than_an_even_share_and_the_longest_shard(
    cells: list[CellWork], costs: list[float], workers: int
) -> None:
    """Whoever hands work to whoever is free keeps this bound; a worker left idle beside waiting work breaks it."""
    course = work_off(cells, costs, ["cpu"] * workers)
    total = sum(cell.images * each for cell, each in zip(cells, costs, strict=False))
    longest = max((len(shard) * costs[shard.cell] for _, _, shard in course.steps), default=0.0)
    assert course.end <= total / workers + longest + 1e-6


def test_the_end_of_a_long_grid_is_within_three_per_cent_of_an_even_share() -> None:
    cells = [CellWork(images, model, "cpu") for model in range(6) for images in (200, 1000, 5000)]
    costs = [0.05 * (1 + place % 5) for place in range(len(cells))]
    course = work_off(cells, costs, ["cpu"] * 16)
    share = sum(cell.images * each for cell, each in zip(cells, costs, strict=True)) / 16
    assert course.end <= 1.03 * share


@given(st.integers(1, 50), st.integers(1, 8), cost)
def test_shards_take_between_the_least_and_the_most_seconds(thousands: int, workers: int, seconds: float) -> None:
    course = work_off([CellWork(100 * thousands, "a", "cpu")], [seconds], ["cpu"] * workers)
    measured = min(start + len(shard) * seconds for start, _, shard in course.steps)
    for start, _, shard in course.steps:
        assert len(shard) * seconds <= max(shards.MOST_SECONDS, seconds * shards.FIRST_IMAGES) + 1e-6
        if start >= measured and shard.stop < 100 * thousands:
            assert (len(shard) + 1) * seconds > shards.LEAST_SECONDS - 1e-6


def test_the_cell_with_most_left_goes_first() -> None:
    cells = [CellWork(10, "a", "cpu"), CellWork(1000, "b", "cpu"), CellWork(100, "c", "cpu")]
    course = work_off(cells, [1.0, 1.0, 1.0], ["cpu"])
    assert list(dict.fromkeys(shard.cell for _, _, shard in course.steps)) == [1, 2, 0]


def test_a_cell_of_few_slow_images_goes_before_one_of_many_quick_ones() -> None:
    schedule = Schedule([CellWork(1000, "quick", "cpu"), CellWork(100, "slow", "cpu")], 1)
    schedule.done(schedule.next("x", "cpu"), 0.002)
    while (shard := schedule.next("x", "cpu")).cell == 0:
        schedule.done(shard, 0.001 * len(shard))
    schedule.done(shard, 20.0)
    assert schedule.next("y", "cpu").cell == 1


kinds = st.sampled_from(["cpu", "gpu"])
cells_of_two_kinds = st.lists(st.builds(CellWork, st.integers(0, 200), st.integers(0, 3), kinds), max_size=8)


@given(cells_of_two_kinds, st.lists(cost, min_size=8, max_size=8), st.lists(kinds, min_size=1, max_size=6))
def test_a_worker_gets_only_what_its_kind_can_do(cells: list[CellWork], costs: list[float], workers: list[str]) -> None:
    course = work_off(cells, costs, workers)
    for _, worker, shard in course.steps:
        assert cells[shard.cell].kind == workers[worker]
    reachable = [place for place in every_image(cells) if cells[place[0]].kind in workers]
    assert course.scored == Counter(reachable)


def test_work_waits_only_for_workers_of_its_kind() -> None:
    schedule = Schedule([CellWork(2, "a", "gpu")], 1)
    assert schedule.next(0, "cpu") is None
    shard = schedule.next(0, "gpu")
    assert schedule.next(1, "gpu") is None
    assert not schedule.finished
    schedule.lost(shard)
    assert schedule.next(0, "cpu") is None
    schedule.done(schedule.next(1, "gpu"), 1.0)
    assert schedule.finished


def test_workers_stay_with_the_model_they_have_loaded() -> None:
    cells = [CellWork(2000, model, "cpu") for model in range(4)]
    course = work_off(cells, [0.5, 0.4, 0.6, 0.5], ["cpu"] * 4)
    loads = Counter(worker for worker, _ in {(worker, shard.cell) for _, worker, shard in course.steps})
    switches = 0
    for worker in range(4):
        order = [cells[shard.cell].model for _, each, shard in course.steps if each == worker]
        switches += sum(left != right for left, right in itertools.pairwise(order))
    assert sum(loads.values()) <= 4 * 4
    assert switches <= 0.1 * len(course.steps)


def test_a_worker_leaves_its_model_for_work_that_is_much_longer() -> None:
    schedule = Schedule([CellWork(100, "a", "cpu"), CellWork(10_000, "b", "cpu")], 2)
    first, second = schedule.next("x", "cpu"), schedule.next("y", "cpu")
    assert {first.cell, second.cell} == {1}
    schedule.done(first, 2.0)
    schedule.done(second, 2.0)
    taken = Counter(schedule.next(worker, "cpu").cell for worker in ("x", "y"))
    assert taken == {1: 2}


@pytest.mark.parametrize("workers", [0, -3])
def test_no_workers_yet_is_counted_as_one(workers: int) -> None:
    assert Schedule([CellWork(5, "a", "cpu")], workers).next("x", "cpu") == Shard(0, 0, 2)
