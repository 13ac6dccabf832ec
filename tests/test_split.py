"""The fastest batch is measured, within memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from stock import clean, draw
from test_pipeline_traces import CAT, SHAPE, found, sd
from torch import Tensor

import invlib
from invlib import split
from invlib.pipelines import read
from invlib.split import BatchTimes, batch_times

GRID = invlib.Schedule.scaled_linear().grid(5)
SOLVER = invlib.ddim(GRID)
IMAGE = torch.zeros(2, 3)


class Timed:
    """A network whose calls take as long as a clock of its own says."""

    prediction = "epsilon"

    def __init__(self, seconds: dict[int, float], full: int = 1000) -> None:
        self.seconds, self.full, self.clock = seconds, full, 0.0
        self.sizes: list[int] = []

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        if len(x) >= self.full:
            raise RuntimeError("CUDA out of memory")
        self.sizes.append(len(x))
        self.clock += self.seconds[len(x)]
        return x


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> type[Timed]:
    """Networks whose clock is the one that is read."""

    class Watched(Timed):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)  # type: ignore[arg-type]
            monkeypatch.setattr(split, "now", lambda device: self.clock)

    return Watched


def test_sizes_double_until_one_is_no_faster(timed: type[Timed]) -> None:
    net = timed({1: 1.0, 2: 1.2, 4: 2.0, 8: 4.8})
    times = batch_times(net, IMAGE, SOLVER)
    assert net.sizes == [1, 1, 2, 2, 4, 4, 8, 8]  # once to warm up, once by the clock
    assert times.sizes == (1, 2, 4, 8) and times.ended == "time"
    assert times.seconds == pytest.approx((1.0, 0.6, 0.5, 0.6))
    assert times.max_batch == 4 and times.evaluations == sum(net.sizes)


def test_the_smallest_of_the_fast_ones_is_taken(timed: type[Timed]) -> None:
    times = batch_times(timed({1: 1.0, 2: 1.0, 4: 1.99, 8: 3.97}), IMAGE, SOLVER)
    assert times.max_batch == 2


def test_no_more_states_than_a_search_has(timed: type[Timed]) -> None:
    times = batch_times(timed({1: 1.0, 2: 1.0, 4: 1.0, 8: 1.0}), IMAGE, SOLVER)
    assert times.sizes == (1, 2, 4, 8) and times.ended == "states"  # of 5 nodes and 2 samples
    assert batch_times(timed({1: 1.0, 2: 1.0}), IMAGE, SOLVER, most=3).sizes == (1, 2)


def test_full_memory_ends_it(timed: type[Timed]) -> None:
    times = batch_times(timed({1: 1.0, 2: 1.0}, full=4), IMAGE, SOLVER)
    assert times.sizes == (1, 2) and times.ended == "memory" and times.max_batch == 2
    with pytest.raises(RuntimeError, match="out of memory"):
        batch_times(timed({}, full=1), IMAGE, SOLVER)


def test_a_call_that_would_take_half_of_what_is_free_is_not_tried(
    timed: type[Timed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split, "peak", lambda device, before: 1.0)
    monkeypatch.setattr(split, "free_bytes", lambda device: 3.9e9)
    times = batch_times(timed({1: 1.0}), IMAGE, SOLVER)
    assert times.sizes == (1,) and times.ended == "memory" and times.gigabytes == (1.0,)


def test_bad_input() -> None:
    net = invlib.predicting(lambda x, t: x, "epsilon")
    with pytest.raises(ValueError, match="at least 1"):
        batch_times(net, IMAGE, SOLVER, most=0)
    pair = invlib.guided(lambda x, t, c: x, torch.zeros(3, 1), torch.zeros(1, 1), 2.0,
                         prediction="epsilon")  # fmt: skip
    with pytest.raises(ValueError, match="3 conditions"):
        batch_times(pair, IMAGE, SOLVER)


def test_a_pipeline_takes_as_many_states_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 512 px one state a call is the default, as here; on a GPU a larger number has to count."""
    monkeypatch.setattr(invlib.pipelines.replay, "BATCH", 1)
    pipe = sd()
    target = clean(pipe, CAT, draw(*SHAPE))
    most = []
    for options in ({}, {"max_batch": 1}, {"max_batch": 2}):
        seen: list[int] = []
        handle = pipe.unet.register_forward_pre_hook(
            lambda m, args, seen=seen: seen.append(len(args[0]))
        )
        assert invlib.invert_latents(pipe, target, **CAT, options=options).verdict == "exact"
        handle.remove()
        most.append(max(seen))
    assert most == [2, 2, 4]  # with guidance a state is two rows


def test_a_pipeline_that_runs_as_a_whole_says_that_no_number_counts() -> None:
    """Each part would be a run of the whole batch: as many states as without the number."""
    pipe = sd()
    call = {**CAT, "prompt": ["a red cat", "a dog"], "guidance_rescale": 0.7}
    target = clean(pipe, call, draw(2, *SHAPE[1:]))
    runs = []
    for options in ({}, {"max_batch": 1}):
        seen: list[int] = []
        handle = pipe.unet.register_forward_pre_hook(
            lambda m, args, seen=seen: seen.append(len(args[0]))
        )
        result = invlib.invert_latents(pipe, target, **call, method="naive", options=options)
        handle.remove()
        runs.append(len(seen))
        note = "max_batch=1 does not count: this pipeline runs as a whole"
        assert (note in result.notes) == bool(options)
    assert runs[0] == runs[1]


def test_a_network_called_node_by_node_gets_no_more_rows_than_it_is_told() -> None:
    call = {**CAT, "prompt": ["a red cat", "a dog"]}
    network = read(sd(), call).network
    assert network.replay is not None
    apart = replace(network.replay, together=False, most=2)
    assert [apart.at_most(most).most for most in (1, 2, 5)] == [1, 2, 2]
    at = (draw(2, *SHAPE[1:]), torch.tensor([1, 1]), torch.tensor([0, 1]))
    torch.testing.assert_close(apart.at_most(1)(*at), apart(*at), rtol=1e-4, atol=1e-5)


def test_a_pipeline_measures_the_fastest_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = sd()
    target = clean(pipe, CAT, draw(*SHAPE))
    plain = invlib.invert_latents(pipe, target, **CAT)
    times = BatchTimes((1, 2, 4), (1.0, 0.5, 0.6), (None, None, None), "time")
    monkeypatch.setattr(invlib.pipelines.batches, "batch_times", lambda *args: times)
    result = invlib.invert_latents(pipe, target, **CAT, options={"max_batch": "fastest"})
    assert "max_batch=2 was the fastest of [1, 2, 4]" in result.notes
    assert result.verdict == "exact"
    assert torch.equal(result.evaluations, plain.evaluations + times.evaluations)


@pytest.mark.parametrize("most", [0, -3, 2.5, True, "most"])
def test_what_is_no_number_of_states_is_refused_before_anything_runs(most: object) -> None:
    pipe = sd()
    pipe.unet = None  # would fail, were it called
    with pytest.raises(ValueError, match='from 1 on, "fastest"'):
        invlib.invert_latents(pipe, torch.zeros(SHAPE), **CAT, options={"max_batch": most})


def test_measured_for_real() -> None:
    pipe = sd()
    found(pipe, {**CAT, "options": {"max_batch": "fastest"}})
