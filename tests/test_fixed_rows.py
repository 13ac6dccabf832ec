"""One compiled graph for a search, and the same answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stock import clean, draw
from test_pipeline_traces import CAT, sd
from torch import Tensor, nn

import invlib
from invlib.fixed_rows import FixedRows, _check, compiled
from invlib.newton import forward_mode

SHAPE = (3, 4, 8, 8)
THREE = {**CAT, "prompt": ["a cat", "a dog", "a house"]}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Graphs:
    """A backend of torch.compile that runs what it is given, and counts it."""

    def __init__(self, state: tuple[int, ...]) -> None:
        self.state, self.rows = state, list[int]()

    def __call__(self, module: Any, examples: list[Any]) -> Callable[..., Any]:
        states = (v for v in examples if isinstance(v, Tensor) and not isinstance(v, nn.Parameter))
        self.rows += [len(v) for v in states if v.shape[1:] == self.state]
        return module.forward


class Net(nn.Module):
    """A network with an argument of another length, and one without rows."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3, dtype=torch.float64)
        self.seen: list[int] = []

    def forward(self, x: Tensor, *, words: Tensor, time: Tensor, scale: float) -> dict[str, Tensor]:
        self.seen.append(len(x))
        return {"sample": scale * self.inner(x) + time[:, None] + words.sum(), "time": time}


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 9), rows=st.integers(1, 9))
def test_any_number_of_rows_is_calls_of_the_fixed_number(count: int, rows: int) -> None:
    net, seen = Net(), []

    def fixed(*args: Any, **kwargs: Any) -> Any:
        seen.append(len(args[0]))
        return net.forward(*args, **kwargs)

    x, words, time = torch.randn(count, 3).double(), torch.randn(11, 2), torch.rand(count)
    with torch.no_grad():
        found = FixedRows(net.forward, fixed, rows)(x, words=words, time=time, scale=2.0)
        wanted = net.forward(x, words=words, time=time, scale=2.0)
    assert seen == [rows] * -(-count // rows)
    assert torch.allclose(found["sample"], wanted["sample"], rtol=1e-12)
    assert torch.equal(found["time"], wanted["time"])


def test_a_search_compiles_its_network_once_for_itself_and_once_for_the_pipeline() -> None:
    pipe = sd()
    target = clean(pipe, THREE, draw(*SHAPE))
    plain = invlib.invert_latents(pipe, target, **THREE)
    graphs = Graphs(SHAPE[1:])
    with compiled(pipe.unet, rows=6, backend=graphs):
        found = invlib.invert_latents(pipe, target, **THREE)
    assert graphs.rows == [6, 6]  # its own calls have one time for all rows, those of a search many
    assert found.verdict == plain.verdict == "exact"
    assert torch.equal(found.evaluations, plain.evaluations)
    assert invlib.nmse(found.latents, plain.latents).max() < 1e-20
    assert pipe.unet._compiled_call_impl is None


class Small(nn.Module):
    """A network ``(x, t)`` that is no trouble to invert."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(self.inner(x.float())) + 1e-3 * t[:, None].float()


def graphs_of_a_search(rows: int | None) -> int:
    """How many graphs an inversion compiles, with a fixed number of rows or without."""
    net, graphs = Small(), Graphs((3,))
    denoiser = invlib.predicting(net, "epsilon")
    solver = invlib.dpm_solver_pp_2m(invlib.Schedule.scaled_linear().grid(4))
    with torch.no_grad():
        image = invlib.sample(denoiser, torch.randn(3, 3), solver).image
    if rows is None:
        net.compile(backend=graphs, dynamic=False)
        invlib.invert(denoiser, image, solver)
    else:
        with compiled(net, rows, backend=graphs):
            invlib.invert(denoiser, image, solver)
    return len(graphs.rows)


def test_one_graph_where_there_would_be_many() -> None:
    assert graphs_of_a_search(12) == 1
    assert graphs_of_a_search(None) > 2


def test_derivatives_and_copies_are_not_compiled() -> None:
    net = nn.Linear(3, 3, dtype=torch.float64)
    graphs = Graphs((3,))
    x, v = torch.randn(2, 3).double(), torch.randn(2, 3).double()
    with compiled(net, rows=4, backend=graphs):
        with torch.no_grad():
            product = forward_mode(net, x, v)
        (slope,) = torch.autograd.grad(net(x.requires_grad_()).sum(), x)
        copied: Any = invlib.denoisers.in_float64(net)
    assert torch.allclose(product, v @ net.weight.T)
    assert torch.allclose(slope, net.weight.sum(0).expand_as(x))
    assert copied._compiled_call_impl is None and not graphs.rows


class Joint(nn.Module):
    """Its rows depend on each other."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0, keepdim=True)


def test_a_network_whose_rows_depend_on_each_other_is_refused() -> None:
    net = Joint()
    with torch.no_grad(), compiled(net, rows=4, backend="eager"):
        assert net(torch.randn(4, 3)).shape == (4, 3)
        with pytest.raises(ValueError, match="depend on each other"):
            net(torch.randn(3, 3))
    assert net(torch.zeros(3, 3)).equal(torch.zeros(3, 3))


@pytest.mark.parametrize("lost", [torch.nan, torch.inf])
def test_what_is_not_finite_has_to_be_so_in_the_network_itself(lost: float) -> None:
    """The comparison was with a number that is NaN where an answer is, and let it pass."""
    x = torch.ones(5, 3)
    holes = torch.zeros(3).index_fill(0, torch.tensor([1]), lost)

    def own(x: Tensor) -> Tensor:
        return 2 * x

    def spoilt(x: Tensor) -> Tensor:
        return 2 * x + holes

    with torch.no_grad():
        for plain, fixed in ((own, spoilt), (spoilt, own)):
            with pytest.raises(ValueError, match="answers something else"):
                FixedRows(plain, fixed, 4)(x)
        assert FixedRows(spoilt, spoilt, 4)(x).shape == (5, 3)
        with pytest.raises(ValueError, match="answers something else"):
            FixedRows(spoilt, lambda x: spoilt(x) + 1, 4)(x)


@pytest.mark.parametrize("rows", [0, -1])
def test_rows_are_at_least_one(rows: int) -> None:
    with pytest.raises(ValueError, match="at least 1"), compiled(nn.Linear(2, 2), rows=rows):
        pass


def test_what_is_compiled_already_is_refused() -> None:
    net = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="already"):  # noqa: SIM117
        with compiled(net, rows=2, backend="eager"), compiled(net, rows=2):
            pass
    other: Any = torch.compile(net, backend="eager")
    with pytest.raises(ValueError, match="already"), compiled(other, rows=2):
        pass


def test_another_shape_or_another_number_is_another_answer() -> None:
    plain = {"sample": torch.ones(2), "count": 3, "ids": torch.arange(2)}
    _check({**plain, "count": 4, "ids": torch.zeros(2, dtype=torch.long)}, plain)  # no numbers
    for sample in (torch.ones(1), 1.1 * torch.ones(2), torch.tensor([1.0, torch.nan])):
        with pytest.raises(ValueError, match="answers something else"):
            _check({**plain, "sample": sample}, plain)
