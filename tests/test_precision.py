"""Round-off, measured: of networks whose precision is known, and of none that is only curved."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import pytest
import torch
from analytic import mixture, noise_prediction, randn
from perceptron import WIDTH, Perceptron, networks, preconditioned
from torch import Tensor
from twelve import DIM, SCHEDULE, counted, run

from invlib.denoisers import (
    Denoiser,
    Prediction,
    in_float64,
    predicting,
    prediction_of,
    roundoff_of,
)
from invlib.evaluator import Evaluator
from invlib.inverters import METHODS, invert
from invlib.inverters.trajectory import outputs, residual
from invlib.metrics import nmse
from invlib.precision import (
    CHANGES,
    DRAWS,
    NotRepeatableError,
    Roundoff,
    apart,
    check_repetition,
    finer,
    limiting,
    raised,
    repetition,
    rough_changes,
    roundoff,
    step_tolerance,
)
from invlib.sampling import sample
from invlib.solvers import Solver, ddim, dpm_solver_pp_2m

SOLVER = dpm_solver_pp_2m(SCHEDULE.grid(10))
LAST = SOLVER.t[9]
FLOAT64 = torch.float64
EPS = torch.finfo(FLOAT64).eps
NETWORKS = networks()


def states(denoiser: Denoiser, count: int = 3, solver: Solver = SOLVER) -> Tensor:
    """What a sampler passes through, ``[B, N, D]``."""
    with torch.no_grad():
        found = sample(denoiser, randn(count, WIDTH), solver).states
    return found[:-1].transpose(0, 1)


def measured(denoiser: Denoiser, y: Tensor, solver: Solver = SOLVER) -> Roundoff:
    evaluator = Evaluator(denoiser, solver, [0] * len(y))
    with torch.no_grad():
        return roundoff(evaluator, y, torch.arange(len(y)))


def at_nodes(denoiser: Denoiser, y: Tensor) -> Tensor:
    evaluator = Evaluator(denoiser, SOLVER, [0] * len(y))
    with torch.no_grad():
        return outputs(evaluator, y, torch.arange(len(y)))


def size(x: Tensor) -> Tensor:
    return x.double().flatten(2).norm(dim=2)


# Networks of known precision


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "float64"])
def test_it_is_the_distance_to_the_same_network_in_float64(name: str) -> None:
    """At the nodes that are looked at, within a factor of ten; so are all equations together."""
    rough, fine = NETWORKS[name]
    y = states(rough)
    found, m, true = measured(rough, y), at_nodes(rough, y), at_nodes(fine, y)
    some = torch.tensor([0, 4, 9])
    ratio = found.outputs[:, some] / (size(m - true) / size(true))[:, some]
    assert (ratio > 0.1).all() and (ratio < 10).all()
    image = torch.zeros_like(y[:, 0])
    gap = residual(SOLVER, image, y, m) - residual(SOLVER, image, y, true)
    ratio = found.equations / (gap.flatten(1).norm(dim=1) / y.flatten(1).norm(dim=1))
    assert (ratio > 0.1).all() and (ratio < 10).all()


@pytest.mark.parametrize("gain", [1.0, 30.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16", "ten bits", "behind NumPy"])
def test_a_wrapper_in_a_better_dtype_does_not_hide_it(
    name: str, dtype: torch.dtype, gain: float
) -> None:
    """Preconditioning and guidance in float64 round far less than the network that they hold."""
    rough, fine = (
        preconditioned(n, d, gain) for n, d in zip(NETWORKS[name], (dtype, FLOAT64), strict=True)
    )
    y = states(rough)
    found, m, true = measured(rough, y), at_nodes(rough, y), at_nodes(fine, y)
    some = torch.tensor([0, 4, 9])
    ratio = found.outputs[:, some] / (size(m - true) / size(true))[:, some]
    assert (ratio > 0.1).all() and (ratio < 10).all()
    noticed = at_nodes(rough, y * (1 + found.change)) - m
    assert (size(noticed) > 0.01 * found.outputs * size(m))[:, some].any()


def test_in_float64_it_is_that_of_float64() -> None:
    rough, _ = NETWORKS["float64"]
    found = measured(rough, states(rough))
    assert (found.outputs >= EPS).all() and (found.outputs < 100 * EPS).all()
    assert (found.equations < 100 * EPS).all()
    assert found.limit.tolist() == [1e-20] * 3


def test_the_order_of_precisions_is_kept() -> None:
    sizes = [
        measured(NETWORKS[name][0], states(NETWORKS[name][0])).outputs.max().item()
        for name in ("float64", "float32", "float16", "bfloat16")
    ]
    assert sizes == sorted(sizes)


def test_other_nodes_have_what_the_nearest_has() -> None:
    rough, _ = NETWORKS["float16"]
    found = measured(rough, states(rough)).outputs
    for node, nearest in enumerate([0, 0, 0, 4, 4, 4, 4, 9, 9, 9]):
        assert torch.equal(found[:, node], found[:, nearest])


def test_where_round_off_differs_much_between_nodes_it_is_measured_at_more() -> None:
    """A network that is rough at the noise, and a million times less at the image."""
    fine = NETWORKS["float64"][0]

    @noise_prediction
    def uneven(x: Tensor, t: Tensor) -> Tensor:
        m = fine(x, t)
        return m + 10 ** (-11 + 6 * t.double() / SOLVER.t[0])[:, None] * (1e15 * m).sin()

    y = states(uneven)
    found = measured(uneven, y)
    true = size(at_nodes(uneven, y) - at_nodes(fine, y)) / size(at_nodes(fine, y))
    ratio = found.outputs / true
    assert true.amax() > 1e5 * true.amin()
    assert (ratio > 0.1).all() and (ratio < 10).all()


def test_a_denoiser_that_has_measured_it_is_taken_at_its_word() -> None:
    @dataclass(frozen=True)
    class Known:
        network: Denoiser
        roundoff: float | None
        prediction: Prediction = "epsilon"

        def __call__(self, x: Tensor, t: Tensor) -> Tensor:
            return self.network(x, t)

    rough, _ = NETWORKS["float32"]
    y = states(rough)
    known = measured(Known(rough, 3e-5), y)
    assert (known.outputs == 3e-5).all() and known.change == 3e-5
    torch.testing.assert_close(known.limit, torch.full((3,), (4 * 3e-5) ** 2).double())
    assert torch.equal(measured(Known(rough, None), y).outputs, measured(rough, y).outputs)


# What is no round-off

KINKS = randn(WIDTH, 4000, seed=4)
CURVED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "linear": lambda x, t: x @ randn(WIDTH, WIDTH, seed=3),
    "affine": lambda x, t: 3 * x + 100,
    "constant": lambda x, t: torch.ones_like(x),
    "zero": lambda x, t: torch.zeros_like(x),
    "square": lambda x, t: x * x,
    "wave": lambda x, t: torch.sin(100 * x),
    "fast wave": lambda x, t: torch.sin(1e4 * x),
    "edge": lambda x, t: torch.tanh(1e4 * x),
    "many kinks": lambda x, t: torch.relu(x @ KINKS) @ KINKS.T,
    "kink": lambda x, t: torch.nn.functional.relu(x) - torch.nn.functional.relu(-3 * x - 1),
}


@pytest.mark.parametrize("function", CURVED.values(), ids=CURVED)
@pytest.mark.parametrize("make", [ddim, dpm_solver_pp_2m])
def test_what_is_curved_in_float64_is_not_rough(
    function: Callable[[Tensor, Tensor], Tensor], make: Callable[..., Solver]
) -> None:
    """A change of a state in its last place, times 1e4, is what such a wave makes of it."""
    solver = make(SCHEDULE.grid(10))
    y = 1 + randn(3, 10, WIDTH)
    found = measured(noise_prediction(function), y, solver)
    assert (found.outputs < 1e-10).all() and (found.limit == 1e-20).all()


def test_curved_at_some_nodes_and_straight_at_the_one_looked_at() -> None:
    """The change that is taken has to be small for all of them."""
    middle = SOLVER.t[4].item()

    @noise_prediction
    def network(x: Tensor, t: Tensor) -> Tensor:
        return torch.where((t == middle)[:, None], x, torch.sin(100 * x))

    found = measured(network, 1 + randn(3, 10, WIDTH))
    assert (found.outputs < 1e-12).all()


@pytest.mark.parametrize("scale", [1.0, 7.5])
def test_sharp_mixtures_are_not_rough(scale: float) -> None:
    denoiser, _, trajectory = run(4, scale, SOLVER)
    y = trajectory.states[:-1].transpose(0, 1)
    assert (measured(denoiser, y).outputs < 1e-13).all()


# Changes


def test_the_change_that_is_noticed_and_the_one_to_measure_by() -> None:
    y = randn(DIM)

    def casting(dtype: torch.dtype) -> tuple[float, float]:
        return rough_changes(lambda x: torch.sin(x.to(dtype).double()), y)

    for dtype, first, whole in (
        (torch.float64, CHANGES[0], CHANGES[1]),
        (torch.float32, CHANGES[2], CHANGES[2]),
        (torch.bfloat16, CHANGES[4], CHANGES[4]),
    ):
        noticed, shown = casting(dtype)
        assert noticed <= first and shown == whole


def test_no_output_no_round_off() -> None:
    """Samples whose outputs are not finite hurt no other; empty batches are empty."""
    rough, _ = NETWORKS["float32"]
    y = states(rough)

    class Broken:
        prediction = "epsilon"

        def __init__(self, rows: Tensor) -> None:
            self.rows = rows

        def __call__(self, x: Tensor, t: Tensor) -> Tensor:
            first, second = self.rows == 0, (self.rows == 1) & (t != LAST)
            return torch.where((first | second)[:, None], torch.nan, rough(x, t))

        def select(self, rows: Tensor) -> Broken:
            return Broken(self.rows[rows])

    whole = measured(rough, y)
    for rows in ([0, 1, 2], [0, 0, 1]):
        found = measured(Broken(torch.tensor(rows)), y)
        assert found.outputs.isfinite().all() and found.equations.isfinite().all()
        assert found.outputs[0].max() < 1e-14 and found.equations[0] < 1e-14
        ratio = found.outputs[2, -1] / whole.outputs[2, -1]
        assert 1 / 3 < ratio < 3
    none = measured(rough, y[:0])
    assert none.outputs.shape == (0, 10) and none.limit.shape == (0,)


# Networks that do not repeat themselves


class Counting:
    """It keeps something from call to call."""

    prediction = "epsilon"

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        return x + 0.1 * self.calls * torch.ones_like(x)


class Dropping(Perceptron):
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.nn.functional.dropout(super().forward(x, t), 0.1, self.training)


@contextmanager
def refused() -> Iterator[None]:
    with pytest.raises(NotRepeatableError, match=r"\.eval\(\).*random numbers.*cache off"):
        yield


@pytest.mark.parametrize("method", ["exact", "multisecant", "whole_trajectory", "stepwise"])
def test_a_network_that_does_not_repeat_itself_is_refused_with_the_remedy(method: str) -> None:
    make = ddim if method == "stepwise" else dpm_solver_pp_2m
    solver = make(SCHEDULE.grid(5))
    network = Dropping().requires_grad_(False).eval()
    image = sample(network, randn(2, WIDTH), solver).image
    assert invert(network, image, solver, method=method).converged.all()
    network.train()
    random = noise_prediction(lambda x, t: x + torch.randn_like(x))
    for denoiser in (network, random, Counting()):
        with refused():
            METHODS[method](denoiser, image, solver)


# What it costs


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("nodes", [1, 2, 3, 7])
def test_what_it_costs(nodes: int, known: bool) -> None:
    """Two evaluations a node, three where the output is not known, and eleven of one sample."""
    count = counted(mixture(SCHEDULE), 4)
    y = randn(4, 10, 4)
    evaluator = Evaluator(count, SOLVER, [0] * 4)
    rows = torch.arange(4)
    m = outputs(Evaluator(mixture(SCHEDULE), SOLVER, [0] * 4), y, rows) if known else None
    roundoff(evaluator, y, rows, m, nodes=nodes)
    each = (2 if known else 3) * nodes
    assert evaluator.counts == count.per_sample == [each + 11, each, each, each]
    assert len(count.sizes) == (2 if known else 3)


def test_a_small_solver_has_no_more_nodes_than_it_has() -> None:
    for steps in (1, 2, 3):
        solver = ddim(SCHEDULE.grid(steps))
        evaluator = Evaluator(mixture(SCHEDULE), solver, [0])
        found = roundoff(evaluator, randn(1, steps, 4), torch.arange(1))
        assert found.outputs.shape == (1, steps) and evaluator.counts == [3 * steps + 11]


def test_a_repetition_is_tried_until_it_is_enough() -> None:
    """The mean over the draws so far; every sample stops for itself."""
    denoiser = counted(NETWORKS["float32"][0], 2)
    first = randn(2, WIDTH)
    evaluator, rows = Evaluator(denoiser, SOLVER, [0, 0]), torch.arange(2)

    def end(c: float) -> Tensor:
        return sample(denoiser, first * (1 + 1e-6 * c) / SOLVER.scale, SOLVER).image

    truth = [nmse(end(c), end(0)) for c in DRAWS]
    with torch.no_grad():
        found = repetition(
            evaluator, first, end(0), 1e-6, rows, lambda v: torch.tensor([True, False])
        )
    assert evaluator.nfe.tolist() == [SOLVER.steps, len(DRAWS) * SOLVER.steps]
    expected = torch.stack([truth[0][0], torch.stack(truth).mean(0)[1]])
    torch.testing.assert_close(found, expected, rtol=0.3, atol=0)


@pytest.mark.parametrize(("enough", "draws"), [(True, 1), (False, 4)])
def test_the_repetition_of_a_linear_sampler_is_its_change(enough: bool, draws: int) -> None:
    """Where Phi(y (1 + ch)) = (1 + ch) Phi(y), each NMSE is (ch)^2; their mean is 10/4 h^2."""
    solver, first, rows = ddim(SCHEDULE.grid(3)), randn(2, 5), torch.arange(2)
    linear = noise_prediction(lambda x, t: 0.4 * x)
    evaluator = Evaluator(linear, solver, [0, 0])
    end = sample(linear, first / solver.scale, solver).image
    found = repetition(evaluator, first, end, 1e-3, rows, lambda v: torch.full_like(v, enough) > 0)
    expected = 1e-6 * (1.0 if enough else (1 + 1 + 4 + 4) / 4)
    torch.testing.assert_close(found, torch.full_like(found, expected), rtol=1e-6, atol=0)
    assert evaluator.nfe.tolist() == [3 * draws] * 2


@pytest.mark.parametrize("gap", [0.0, 1e-9, 0.99e-4, 1.01e-4, math.nan])
def test_what_hardly_repeats_itself_is_warned_of_and_what_does_not_is_refused(gap: float) -> None:
    """A relative difference up to 1e-4 counts as round-off; NaN twice is no difference."""
    sizes: list[int] = []

    def evaluate(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return x * (gap if math.isnan(gap) else 1 + gap * (len(sizes) - 1))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with refused() if gap > 1e-4 else nullcontext():
            check_repetition(evaluate, randn(5))
    assert sizes == [8, 8]
    said = [str(warning.message) for warning in caught]
    if 0 < gap < 1e-4:
        assert len(said) == 1 and f"differ by {gap:.0e}, relative" in said[0]
    else:
        assert not said


def test_the_limit_is_sixteen_times_the_square_of_round_off_between_its_ends() -> None:
    """1e-20 below a round-off of 1e-10; else at least 1e-10 and at most 1e-3."""
    rho = torch.tensor([9e-11, 2e-10, 1e-3, 5e-3, 1e-2], dtype=torch.float64)
    limit = Roundoff(torch.stack([rho / 2, rho], 1), rho, 0.0).limit
    expected = torch.tensor([1e-20, 1e-10, 1.6e-5, 4e-4, 1e-3], dtype=torch.float64)
    torch.testing.assert_close(limit, expected, rtol=1e-12, atol=0)


def test_the_tolerance_of_a_step_is_half_of_the_round_off_and_no_less_than_1e_14() -> None:
    found = step_tolerance(torch.tensor([1e-6, 2e-14, 1e-14, 0.0], dtype=torch.float64))
    assert found.tolist() == [5e-7, 1e-14, 1e-14, 1e-14]


# What limits it


@dataclass
class Backend:
    """What PyTorch says of the products of a device."""

    fp32_precision: str


def test_a_known_round_off_is_not_measured() -> None:
    """Neither is the search slower; the copy in float64 does not have it."""
    network = NETWORKS["float32"][0]
    solver = dpm_solver_pp_2m(SCHEDULE.grid(4))
    image = sample(network, randn(2, WIDTH), solver).image
    kind = prediction_of(network)
    free, told = (
        invert(predicting(network, kind, roundoff=v), image, solver) for v in (None, 1e-7)
    )
    assert told.reason == free.reason == ("converged",) * 2
    assert (told.nfe < free.nfe).all()
    assert told.roundoff is not None and (told.roundoff.outputs == 1e-7).all()
    fine = in_float64(predicting(network, kind, roundoff=1e-7))
    assert roundoff_of(fine) is None
    assert fine(image, solver.t[:1].expand(2)).dtype == torch.float64
    with pytest.raises(ValueError, match="between 0 and 1"):
        predicting(network, kind, roundoff=2.0)


def test_autocast_and_tf32_are_named_where_they_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    network, solver = NETWORKS["float32"][0], ddim(SCHEDULE.grid(3))
    image = sample(network, randn(1, WIDTH), solver).image
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        invert(network, image, solver)
    with torch.autocast("cpu", torch.bfloat16), pytest.warns(UserWarning, match="leave autocast"):
        invert(network, image, solver)
    for product, convolution in (("ieee", "ieee"), ("ieee", "tf32"), ("tf32", "none")):
        products, convolutions = map(Backend, (product, convolution))
        monkeypatch.setattr(torch.backends.cuda, "matmul", products)
        monkeypatch.setattr(torch.backends.cudnn, "conv", convolutions)
        assert limiting(torch.device("cpu"), torch.float32) == ""
        assert limiting(torch.device("cuda"), torch.bfloat16) == ""
        said = limiting(torch.device("cuda"), torch.float32)
        assert ("TF32 is on" in said) == ("tf32" in (product, convolution))


def test_what_is_not_finite_is_no_difference() -> None:
    """It is named elsewhere; here it would hide how far the others are apart."""
    once = torch.tensor([[1.0, 2.0], [1.0, 1.0], [torch.inf, 1.0]], dtype=torch.float64)
    twice = torch.tensor([[1.0, 2.5], [torch.inf, 1.0], [torch.inf, 1.0]], dtype=torch.float64)
    assert apart(once, twice).tolist() == pytest.approx([0.5 / 5**0.5, 0, 0])


def test_a_network_without_round_off_is_one_in_float64() -> None:
    """A constant has none at any change: the smallest change is taken."""
    assert rough_changes(torch.ones_like, randn(3)) == (CHANGES[0], CHANGES[0])


def test_a_network_that_is_constant_within_a_call_and_not_from_call_to_call_is_noticed() -> None:
    calls: list[None] = []

    def drifting(x: Tensor) -> Tensor:
        calls.append(None)
        return torch.full_like(x, 1 + 0.1 * len(calls))

    y = randn(3)
    with pytest.raises(NotRepeatableError, match="does not repeat itself"):
        rough_changes(drifting, y, drifting(y))


@pytest.mark.parametrize(("repeat", "expected"), [(2.0, 8.0), (0.1, 1.0), (torch.nan, 1.0)])
def test_a_limit_is_raised_to_four_times_the_repetition(repeat: float, expected: float) -> None:
    limit = torch.tensor([1e-10], dtype=torch.float64)
    found = raised(limit, 1e-10 * torch.tensor([repeat], dtype=torch.float64))
    assert found.item() == pytest.approx(1e-10 * expected)


def test_what_a_copy_in_float64_says_is_told_in_its_first_two_hundred_letters() -> None:
    def measure(network: Denoiser) -> float:
        raise RuntimeError("x " * 300)

    network = predicting(torch.nn.Linear(3, 3), "epsilon")
    with pytest.warns(UserWarning, match="no copy in float64") as noted:
        assert finer(network, measure) is None
    assert str(noted[0].message).count("x ") == str(noted[0].message).count("x") == 100
