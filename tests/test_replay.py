"""A network is called directly only if what the pipeline gives it and makes of it is understood."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from invlib.pipelines.network import PipelineNetwork
from invlib.pipelines.replay import (
    NotReplayable,
    Replay,
    _read_call,
    _state_leaf,
    _Watched,
    _weights,
    main_output,
)

STEPS, BATCH = 3, 2
X = (("t", 0), ("t", 0))  # the first argument; the others have names
T, C = ((("t", 1), ("k", name)) for name in "tc")


def watched(seed: int, **changes: Any) -> _Watched:
    """A run of three steps in which a network is given state, time and condition."""
    draw = torch.Generator().manual_seed(seed)
    states = [torch.randn(BATCH, 4, 2, 2, generator=draw) for _ in range(STEPS)]
    condition = torch.arange(2.0 * BATCH)
    calls = [[{X: y, T: torch.tensor(1.0 * i), C: condition}] for i, y in enumerate(states)]
    answers = [[torch.randn(BATCH, 4, 2, 2, generator=draw)] for _ in range(STEPS)]
    outputs = [2.0 * a for [a] in answers]
    return _Watched(**{**vars(_Watched(states, calls, answers, outputs)), **changes})


def read(change: Any) -> None:
    """Read the call of two runs after both were changed."""
    runs = [watched(seed) for seed in (0, 1)]
    for run in runs:
        for i, [call] in enumerate(run.calls):
            change(run, i, call)
    _read_call(0, *runs, BATCH)


def test_what_is_understood_is_read() -> None:
    leaves, chunks = _read_call(0, watched(0), watched(1), BATCH)
    assert chunks == 1
    assert {path: leaf.kind for path, leaf in leaves.items()} == {X: "state", T: "node", C: "fixed"}
    weights = _weights(watched(0), watched(1), 0, [1])
    torch.testing.assert_close(weights, torch.tensor([2.0]).to(weights))


def doubled(run: _Watched, i: int, call: dict) -> None:
    call[C] = torch.cat([call[X], call[X]])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda run, i, call: call.pop(C) if i else None, "differ from step to step"),
        (doubled, "different batches"),
        (lambda run, i, call: call.pop(X), "no argument of the network is the state"),
        (lambda run, i, call: call.update({X: call[X].tolist()}), "another form"),
        (lambda run, i, call: call.update({X: call[X].flatten(1)}), "another form"),
        (lambda run, i, call: call.update({X: call[X].square()}), "another form"),
        (lambda run, i, call: call.update({X: call[X].repeat(1, 2, 2, 1)}), "another form"),
    ],
)
def test_a_call_that_is_not_understood_is_refused(change: Any, match: str) -> None:
    with pytest.raises(NotReplayable, match=match):
        read(change)


@pytest.mark.parametrize(
    ("outputs", "match"),
    [
        (lambda a: torch.cat([a, a]), "another form"),
        (lambda a: a[:, :, :1], "another form"),
        (lambda a: a.abs(), "not combined linearly"),
    ],
)
def test_outputs_that_are_no_combination_of_answers_are_refused(outputs: Any, match: str) -> None:
    runs = [watched(seed) for seed in (0, 1)]
    changed = [
        watched(k, outputs=[outputs(a) for [a] in run.answers]) for k, run in enumerate(runs)
    ]
    with pytest.raises(NotReplayable, match=match):
        _weights(*changed, 0, [1])


def test_the_prediction_is_the_first_tensor_of_an_answer() -> None:
    tensor = torch.ones(2)
    for answer in (tensor, (tensor, None), [tensor, 3], SimpleNamespace(sample=tensor)):
        assert main_output(answer) is tensor
    for nothing in (None, (), ("a", tensor), SimpleNamespace(sample="a"), {"sample": tensor}):
        with pytest.raises(NotReplayable, match="no tensor"):
            main_output(nothing)


def test_a_value_beside_the_state_along_two_axes_is_not_understood() -> None:
    y = [torch.ones(2, 4, 3, 3)] * 2
    wide = [torch.ones(2, 8, 6, 3)] * 2
    with pytest.raises(NotReplayable):
        _state_leaf(wide, wide, y, y, 2)


# --- the network between the nodes


def linear_in_time(together: bool) -> Replay:
    """A network that says its time, which it is told as 10, 6, 2."""

    class Time(torch.nn.Module):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return torch.ones_like(x) * t.view(-1, *[1] * (x.ndim - 1))

    leaves, _ = _read_call(0, *(watched(seed) for seed in (0, 1)), BATCH)
    del leaves[C]
    leaves[T] = SimpleNamespace(kind="node", value=[torch.tensor(v) for v in (10.0, 6.0, 2.0)])
    labels = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
    weights = torch.ones(STEPS, 1, dtype=torch.float64)
    return Replay(Time(), (leaves,), weights, (1,), BATCH, labels, together, 4)


def network(replay: Replay | None) -> PipelineNetwork:
    times, stage = torch.tensor([3.0, 2.0, 1.0]), Any
    return PipelineNetwork(
        stage, "replay", "epsilon", times, None, torch.arange(BATCH), replay=replay
    )


def test_a_network_that_is_called_directly_is_told_times_between_its_nodes() -> None:
    x, t = torch.zeros(2, 4, 2, 2, dtype=torch.float64), torch.tensor([2.5, 1.25])
    found = network(linear_in_time(True))(x, t)
    assert found[:, 0, 0, 0].tolist() == pytest.approx([8.0, 3.0])
    at = network(linear_in_time(True))(x, torch.tensor([3.0, 1.0]))
    assert at[:, 0, 0, 0].tolist() == pytest.approx([10.0, 2.0])


@pytest.mark.parametrize("replay", [None, linear_in_time(False)], ids=["a loop", "one by one"])
def test_another_network_refuses_times_between_its_nodes(replay: Replay | None) -> None:
    x = torch.zeros(2, 4, 2, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match="time steps of its own loop only"):
        network(replay)(x, torch.tensor([2.5, 1.0]))
    if replay is not None:
        with pytest.raises(NotReplayable, match="no values between"):
            replay(x, torch.tensor([0, 0]), torch.arange(2), torch.tensor([2.5, 2.5]))
