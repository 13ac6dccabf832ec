"""Denoisers: the exact ones against autograd, guidance, conversions between predictions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import get_args

import numpy
import pytest
import torch
from analytic import mixture, one_gaussian, randn
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import invlib
from invlib.denoisers import (
    Denoiser,
    Mixture,
    Prediction,
    any_time,
    check_rows,
    convert,
    dtype_of,
    evaluated,
    gaussian,
    guided,
    ideal,
    in_float64,
    layers,
    nodewise,
    parts,
    predicting,
    prediction_of,
    select,
    silent_without_noise,
)
from invlib.editing import differences
from invlib.reversible import edict, sample_reversible
from invlib.sampling import sample
from invlib.schedule import FlowSchedule, Schedule
from invlib.singular import singular_values
from invlib.solvers import ddim, dpm_solver_pp_2m

SCHEDULE = Schedule.scaled_linear()
KINDS: tuple[Prediction, ...] = get_args(Prediction)
TIMES = torch.tensor([3.0, 250.0, 601.5, 999.0], dtype=torch.float64)


def noise_from_score(denoiser: Mixture, x: Tensor, t: Tensor, allowed: Tensor) -> Tensor:
    """-sigma times the gradient of the log density of the noisy mixture, by autograd.

    allowed: which components each row's density has, ``[B, K]``.
    """
    x = x.clone().requires_grad_()
    alpha, sigma = denoiser.schedule.alpha_t(t)[:, None], denoiser.schedule.sigma_t(t)[:, None]
    variance = (alpha * denoiser.std) ** 2 + sigma**2
    gap = x[:, None].flatten(2) - alpha[:, None] * denoiser.means.flatten(1)
    weights = torch.ones(len(denoiser.means)) if denoiser.weights is None else denoiser.weights
    log = weights.double().log() - (gap**2).sum(-1) / (2 * variance)
    density = torch.logsumexp(log.masked_fill(~allowed, -torch.inf), 1).sum()
    (score,) = torch.autograd.grad(density, x)
    return -sigma.view(-1, *[1] * (x.ndim - 1)) * score


@pytest.mark.parametrize("name", ["gaussian", "mixture", "ideal"])
def test_noise_is_the_score_of_the_exact_density(name: str) -> None:
    denoiser = {
        "gaussian": gaussian(SCHEDULE, randn(2, 3), 0.7),
        "mixture": Mixture(SCHEDULE, randn(6, 2, 3), 0.4, weights=torch.arange(1, 7)),
        "ideal": ideal(SCHEDULE, randn(8, 2, 3)),
    }[name]
    x = randn(4, 2, 3, seed=1)
    allowed = torch.ones(4, len(denoiser.means), dtype=torch.bool)
    exact = noise_from_score(denoiser, x, TIMES, allowed)
    torch.testing.assert_close(denoiser(x, TIMES), exact, rtol=1e-10, atol=1e-10)


def test_classes_use_their_own_components() -> None:
    denoiser = mixture(SCHEDULE)
    classes, x = torch.tensor([0, 1, -1, 1]), randn(4, 4, seed=1)
    labels = denoiser.labels
    assert labels is not None
    allowed = (classes[:, None] == labels) | (classes[:, None] < 0)
    exact = noise_from_score(denoiser, x, TIMES, allowed)
    torch.testing.assert_close(denoiser(x, TIMES, classes), exact, rtol=1e-10, atol=1e-10)
    none = torch.full((4,), -1)
    torch.testing.assert_close(denoiser(x, TIMES, none), denoiser(x, TIMES))


def test_gaussian_denoiser_is_linear_in_closed_form() -> None:
    denoiser, x = one_gaussian(SCHEDULE), randn(4, 3)
    alpha, sigma = SCHEDULE.alpha_t(TIMES)[:, None], SCHEDULE.sigma_t(TIMES)[:, None]
    exact = sigma * (x - alpha * 0.3) / (alpha**2 * 0.36 + sigma**2)
    torch.testing.assert_close(denoiser(x, TIMES), exact, rtol=1e-14, atol=1e-14)


def test_ideal_denoiser_returns_a_data_point_where_there_is_little_noise() -> None:
    data = randn(5, 3)
    denoiser = Mixture(SCHEDULE, data, 0.0, prediction="sample")
    x = SCHEDULE.alpha_t(0.0) * data + 0.01 * randn(5, 3, seed=2)
    torch.testing.assert_close(denoiser(x, torch.zeros(5)), data, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("schedule", [SCHEDULE, FlowSchedule()], ids=["vp", "flow"])
def test_mixture_predicts_every_kind(kind: Prediction, schedule: Schedule) -> None:
    noise, other = mixture(schedule), mixture(schedule)
    other = Mixture(schedule, other.means, other.std, weights=other.weights, prediction=kind)
    x, levels = randn(4, 4, seed=1), (schedule.alpha_t(TIMES), schedule.sigma_t(TIMES))
    expected = convert(noise(x, TIMES), x, *levels, "epsilon", kind)
    torch.testing.assert_close(other(x, TIMES), expected, rtol=1e-9, atol=1e-9)


class Counting:
    """A network that counts its calls and their rows."""

    prediction: Prediction = "v_prediction"

    def __init__(self, network: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        self.network, self.rows = network, []

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        self.rows.append(len(x))
        return self.network(x, t, condition)


@pytest.mark.parametrize("scale", [1.0, 1.5, 7.5])
def test_guidance_is_its_formula_in_one_call(scale: float) -> None:
    denoiser, classes = mixture(SCHEDULE), torch.tensor([0, 1, 1, 0])
    network, x = Counting(denoiser), randn(4, 4, seed=1)
    guide = guided(network, classes, torch.tensor([-1]), scale)
    unconditional, conditional = denoiser(x, TIMES), denoiser(x, TIMES, classes)
    expected = unconditional + scale * (conditional - unconditional)
    torch.testing.assert_close(guide(x, TIMES), expected, rtol=1e-12, atol=1e-12)
    assert network.rows == [4 if scale == 1 else 8]
    assert guide.prediction == "v_prediction"


def test_guidance_with_conditions_of_many_dimensions() -> None:
    condition, null, x = randn(2, 3, 4), randn(1, 3, 4, seed=1), randn(2, 4, seed=2)
    guide = guided(lambda x, t, c: x + c.sum(1), condition, null, 3.0, prediction="sample")
    expected = x + null.sum(1) + 3 * (condition.sum(1) - null.sum(1))
    torch.testing.assert_close(guide(x, torch.zeros(2)), expected)
    assert guide.prediction == "sample"


@pytest.mark.parametrize("scale", [0.0, 0.99, -1.0, math.inf, math.nan])
def test_bad_guidance_scales_are_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="guidance scale"):
        guided(mixture(SCHEDULE), torch.zeros(2), torch.zeros(1), scale)


def test_bad_conditions_and_predictions_are_refused() -> None:
    network = mixture(SCHEDULE)
    with pytest.raises(ValueError, match="null has shape"):
        guided(network, torch.zeros(2, 5), torch.zeros(1, 4), 2.0)
    with pytest.raises(ValueError, match="unknown prediction"):
        guided(network, torch.zeros(2), torch.zeros(1), 2.0, prediction="noise")  # type: ignore
    with pytest.raises(ValueError, match="unknown prediction"):
        predicting(network, "x0")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one condition per row"):
        guided(network, torch.zeros(2), torch.zeros(1), 2.0)(randn(3, 4), TIMES[:3])


def test_select_takes_the_conditions_of_rows() -> None:
    classes, rows = torch.tensor([0, 1, 1, 0]), torch.tensor([3, 1, 1])
    guide = guided(mixture(SCHEDULE), classes, torch.tensor([-1]), 3.0)
    x = randn(4, 4, seed=1)
    for denoiser in (guide, predicting(guide, "flow")):
        part = select(denoiser, rows)(x[rows], TIMES[rows])
        torch.testing.assert_close(part, denoiser(x, TIMES)[rows])
        assert select(denoiser, rows).prediction == denoiser.prediction
    plain = mixture(SCHEDULE)
    assert select(plain, rows) is plain


class Said:
    """A network that says what it is asked to say."""

    def __init__(self, **said: object) -> None:
        vars(self).update(said)

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize("network", [lambda x, t: x, Said(), torch.nn.Linear(4, 4)])
def test_a_network_that_says_nothing_is_asked(network: Callable[..., Tensor]) -> None:
    """By every door; none takes it for a noise prediction."""
    solver, x = ddim(SCHEDULE.grid(4)), randn(2, 4)
    for ask in (
        lambda: prediction_of(network),
        lambda: sample(network, x, solver),
        lambda: invlib.invert(network, x, solver),
        lambda: invlib.invert(network, x, dpm_solver_pp_2m(SCHEDULE.grid(4))),
        lambda: sample_reversible(network, x, edict(SCHEDULE.grid(4))),
    ):
        with pytest.raises(ValueError, match=r"does not say.*invlib\.predicting\(network"):
            ask()
    with pytest.raises(ValueError, match="does not say.*guided"):
        guided(network, torch.zeros(2), torch.zeros(1), 2.0)
    assert isinstance(predicting(network, "score"), Denoiser) and not isinstance(network, Denoiser)


def test_a_network_that_says_something_unknown_is_told() -> None:
    with pytest.raises(ValueError, match="unknown prediction 'x0'"):
        sample(Said(prediction="x0"), randn(2, 4), ddim(SCHEDULE.grid(4)))


def test_what_a_network_says_is_found_behind_wrappers() -> None:
    inner = Said(prediction="sample", dtype=torch.bfloat16, condition=torch.zeros(3))
    wrapped = predicting(predicting(inner, "sample"), "epsilon")
    assert list(layers(wrapped)) == [wrapped, wrapped.network, inner]
    assert dtype_of(wrapped) == torch.bfloat16
    assert dtype_of(predicting(lambda x, t: x, "flow")) is None
    module = torch.nn.Linear(3, 3)
    module.register_parameter("first", None)
    assert dtype_of(predicting(module.half(), "flow")) == torch.float16
    quantised = torch.nn.Module()
    quantised.scale = torch.nn.Parameter(torch.zeros(3, dtype=torch.uint8), requires_grad=False)
    assert dtype_of(quantised) is None  # whole numbers say nothing of the arithmetic
    with pytest.raises(ValueError, match="2 rows of noise but 3 conditions"):
        check_rows(wrapped, randn(2, 4), "noise")
    check_rows(wrapped, randn(3, 4), "noise")


def test_what_is_known_at_nodes_only_says_so() -> None:
    class AtNodes(Said):
        nodewise, any_time = False, False

        def at(self, y: Tensor, nodes: Tensor) -> Tensor:
            return y

    assert not nodewise(AtNodes()) and not any_time(AtNodes())
    assert nodewise(Said()) and any_time(Said())


@pytest.mark.parametrize("std", [0.0, 0.4])
def test_a_score_is_the_gradient_of_the_log_density(std: float) -> None:
    means = randn(6, 2, 3)
    denoiser, x = Mixture(SCHEDULE, means, std, prediction="score"), randn(4, 2, 3, seed=1)
    allowed = torch.ones(4, 6, dtype=torch.bool)
    noise = noise_from_score(denoiser, x, TIMES, allowed)
    score = -noise / SCHEDULE.sigma_t(TIMES)[:, None, None]
    torch.testing.assert_close(denoiser(x, TIMES), score, rtol=1e-9, atol=1e-9)


def test_a_score_has_no_noise_where_there_is_none() -> None:
    one, zero, x, m = torch.ones(1).double(), torch.zeros(1).double(), randn(1, 3), randn(1, 3)
    for kind, wanted in (("epsilon", 0 * m), ("sample", x), ("v_prediction", 0 * m)):
        torch.testing.assert_close(convert(m, x, one, zero, "score", kind), wanted)
    assert silent_without_noise("score") and not silent_without_noise("v_prediction")
    assert torch.isfinite(Mixture(AtZero(), randn(3, 3), 0.4, prediction="score")(x, one)).all()


class AtZero:
    """Levels of data without noise."""

    times, image = 1, 0.0

    def alpha_t(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma_t(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)


levels = st.floats(0.05, 20)  # no level may vanish: an exact conversion divides by it
number = st.floats(-5, 5)


@given(st.sampled_from(KINDS), st.sampled_from(KINDS), levels, levels, number, number)
def test_convert_is_exact_for_all_pairs(
    source: Prediction, target: Prediction, alpha: float, sigma: float, x0: float, noise: float
) -> None:
    a, s, data, eps = torch.tensor([[alpha], [sigma], [x0], [noise]], dtype=torch.float64)
    data, eps = data.expand(1, 2, 2), eps.expand(1, 2, 2)
    x = alpha * data + sigma * eps

    def truth(kind: Prediction) -> Tensor:
        p, q = parts(kind, a, s)
        return p * data + q * eps

    there = convert(truth(source), x, a, s, source, target)
    torch.testing.assert_close(there, truth(target), rtol=1e-9, atol=1e-9)
    back = convert(there, x, a, s, target, source)
    torch.testing.assert_close(back, truth(source), rtol=1e-9, atol=1e-9)


def test_convert_needs_only_the_levels_that_a_formula_divides_by() -> None:
    one, zero, x = torch.ones(1).double(), torch.zeros(1).double(), randn(1, 3)
    noise, data = randn(1, 3, seed=1), randn(1, 3, seed=2)
    # pure noise: alpha = 0, v = -x0; no noise: sigma = 0, v = epsilon
    torch.testing.assert_close(convert(-data, x, zero, one, "v_prediction", "sample"), data)
    torch.testing.assert_close(convert(x - data, x, zero, one, "flow", "sample"), data)
    torch.testing.assert_close(convert(noise, x, one, zero, "v_prediction", "epsilon"), noise)
    torch.testing.assert_close(convert(noise, x, one, zero, "epsilon", "sample"), x)
    assert torch.equal(convert(noise, x, zero, zero, "sample", "sample"), noise)


# Networks that work in place


def in_place(x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
    x *= 0.5
    return 0.9 * torch.tanh(x)


@pytest.mark.parametrize("view", [lambda x: x, lambda x: x[:, :2], lambda x: x.detach()])
def test_a_network_that_changes_its_input_is_refused(view: Callable[[Tensor], Tensor]) -> None:
    def network(x: Tensor, t: Tensor) -> Tensor:
        view(x).mul_(0.5)
        return 0.9 * torch.tanh(x)

    denoiser, noise = predicting(network, "epsilon"), randn(2, 4)
    for solver in (ddim(SCHEDULE.grid(3)), dpm_solver_pp_2m(SCHEDULE.grid(3))):
        for door in (sample, invlib.invert, invlib.whole_trajectory, invlib.naive):
            with pytest.raises(ValueError, match="changes its input in place"):
                door(denoiser, noise, solver)


def test_so_it_is_by_other_doors() -> None:
    classes, noise = torch.zeros(2, 1), randn(2, 4)
    alone = guided(in_place, classes, classes[:1], 1.0, prediction="epsilon")
    grid = SCHEDULE.grid(3)
    plain = predicting(lambda x, t: 0.1 * x, "epsilon")
    found = invlib.invert(plain, noise, ddim(grid))
    rough = predicting(in_place, "epsilon")
    for door in (
        lambda: sample(alone, noise, ddim(grid)),
        lambda: sample_reversible(rough, noise, edict(grid)),
        lambda: invlib.certify(rough, found, ddim(grid)),
        lambda: singular_values(rough, noise, ddim(grid)),
        lambda: differences(plain, rough, found.states[..., None, None], ddim(grid), None),
    ):
        with pytest.raises(ValueError, match="changes its input in place"):
            door()


class AtNodes:
    """A network that is asked at the nodes of a table, as that of a pipeline is."""

    prediction, nodewise, any_time = "epsilon", True, False

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        return self.at(x, t)

    def at(self, y: Tensor, nodes: Tensor) -> Tensor:
        return in_place(y, nodes)

    def select(self, rows: Tensor) -> AtNodes:
        return self


def test_a_network_that_is_asked_at_nodes_is_refused_as_well() -> None:
    with pytest.raises(ValueError, match="changes its input in place"):
        sample(AtNodes(), randn(2, 4), ddim(SCHEDULE.grid(3)))


def test_where_changes_cannot_be_seen_the_network_has_a_copy() -> None:
    """In inference mode tensors have no version; NumPy changes them without a trace."""
    solver, noise = ddim(SCHEDULE.grid(3)), randn(2, 4)
    kept = sample(predicting(lambda x, t: in_place(x.clone(), t), "epsilon"), noise, solver).image
    with torch.inference_mode():
        found = sample(predicting(in_place, "epsilon"), noise, solver).image
    assert torch.equal(found, kept)

    def outside(x: Tensor, t: Tensor) -> numpy.ndarray:
        return in_place(x, t).numpy() if x.numpy().any() else x.numpy()

    outer = invlib.bridged(outside, prediction="epsilon", dtype=torch.float64)
    assert torch.equal(sample(outer, noise, solver).image, kept)


def test_tensors_without_data_have_a_network_as_well() -> None:
    with torch._subclasses.FakeTensorMode():
        y = torch.ones(2, 4, dtype=torch.float64)
        assert evaluated(lambda x: 2 * x, y).shape == (2, 4)
        with pytest.raises(ValueError, match="in place"):
            evaluated(lambda x: in_place(x, x), y)
    assert evaluated(lambda x: 2 * x, torch.ones(2, 4, device="meta")).is_meta
    for transform in (torch.func.vmap, torch.func.jacrev, torch.func.jacfwd):
        assert transform(lambda x: evaluated(lambda x: 2 * x, x))(torch.ones(2, 4)).shape[0] == 2


def test_conditions_in_dictionaries_get_a_copy_in_float64() -> None:
    held = {
        "text": torch.ones(2),
        "ids": torch.ones(2, dtype=torch.long),
        "more": {"a": torch.ones(1)},
    }
    fine = in_float64(held)
    assert fine["text"].dtype == fine["more"]["a"].dtype == torch.float64
    assert fine["ids"].dtype == torch.long and held["text"].dtype == torch.float32
