"""Likelihoods are those of the sampler: closed forms, integrals, estimates within their errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch
from analytic import MEAN, STD, mixture, one_gaussian, randn
from torch import Tensor
from twelve import prompted, twelve

from invlib import likelihood
from invlib.bridge import bridged
from invlib.denoisers import Denoiser, Mixture, guided, predicting
from invlib.derivatives import Derivatives, sampler_products
from invlib.inversion import Inversion
from invlib.inverters import invert
from invlib.likelihood import Problem, Quadrature, exactly
from invlib.likelihood.blocks import forward_blocks, node_blocks
from invlib.likelihood.quadrature import rules, step_products
from invlib.likelihood.result import CandidateLikelihood, Determinant, Likelihoods, Root
from invlib.likelihood.roots import Estimate, log_weights, odds, weighed
from invlib.likelihood.scores import Scores, whiteness
from invlib.sampling import sample
from invlib.schedule import Schedule
from invlib.singular import sample_image
from invlib.solvers import Solver, ddim, dpm_solver_pp_2m
from invlib.watch import Budget, Progress, Watch, watching

SCHEDULE = Schedule.scaled_linear()
SOLVERS: dict[str, Solver] = {
    "DDIM": ddim(SCHEDULE.grid(8)),
    "2M": dpm_solver_pp_2m(SCHEDULE.grid(6)),
    "2M scaled": dpm_solver_pp_2m(SCHEDULE.grid(6), scale=1.7),
    "2M to no noise": dpm_solver_pp_2m(SCHEDULE.grid(6, final="zero")),
}


def on_the_line(solver: Solver) -> tuple[float, float]:
    """Factor and shift of the affine map that a sampler of one Gaussian is, number by number.

    By the recursion of the table on numbers, with the noise prediction in closed form.
    """
    ends = []
    for z in (0.0, 1.0):
        y, outputs = z * solver.scale, list[float]()
        for i in range(solver.steps):
            alpha, sigma = solver.alpha[i].item(), solver.sigma[i].item()
            spread = alpha**2 * STD**2 + sigma**2
            epsilon = sigma * (y - alpha * MEAN) / spread
            data = MEAN + alpha * STD**2 * (y - alpha * MEAN) / spread
            outputs.append({"epsilon": epsilon, "sample": data}[solver.prediction])
            weights = solver.b[i, : i + 1].tolist()
            y = solver.a[i].item() * y + sum(w * m for w, m in zip(weights, outputs, strict=True))
        ends.append(y)
    return ends[1] - ends[0], ends[0]


@pytest.mark.parametrize("name", SOLVERS)
def test_one_gaussian_is_pushed_forward_to_a_gaussian(name: str) -> None:
    """Any latents, not only those that the sampler made."""
    solver = SOLVERS[name]
    factor, shift = on_the_line(solver)
    x = randn(3, 5, seed=1)
    found = likelihood(one_gaussian(solver.schedule, 5), x, [solver])
    law = torch.distributions.Normal(*torch.tensor([shift, abs(factor)], dtype=torch.float64))
    expected = law.log_prob(x).sum(1)
    torch.testing.assert_close(found.log_p[0], expected, rtol=0, atol=1e-8)
    assert found.error.max() == 0


@pytest.mark.parametrize("name", SOLVERS)
def test_a_mixture_has_the_determinant_of_the_whole_sampler(name: str) -> None:
    """By forward-mode derivatives through the whole run, another way to the same number."""
    solver = SOLVERS[name]
    denoiser, noise = mixture(solver.schedule, 4), randn(2, 4, seed=2)
    image = sample(denoiser, noise, solver).image
    found = likelihood(denoiser, image, [solver])
    for k, z in enumerate(noise):
        jacobian = torch.func.jacfwd(lambda z: sample_image(denoiser, z[None], solver)[0])(z)
        normal = -(z.square() + math.log(2 * math.pi)).sum() / 2
        expected = (normal - torch.linalg.slogdet(jacobian)[1]).item()
        assert found.log_p[0, k].item() == pytest.approx(expected, abs=1e-8)


# Two clusters on a line through the plane, one of them the prompt's: the sampler folds along the
# line, and is linear across it. The axes are turned, so that no Jacobian is diagonal.
TURN = torch.tensor([[0.8, -0.6], [0.6, 0.8]], dtype=torch.float64)
CLUSTERS = Mixture(SCHEDULE, torch.tensor([[2.0, 0.0], [-2.0, 0.0]]).double() @ TURN.T, 0.5)
FOLDED = guided(replace(CLUSTERS, labels=torch.arange(2)), torch.tensor([0]), torch.tensor([-1]), 6)
FEW = ddim(SCHEDULE.grid(4))


def along(z: Tensor) -> Tensor:
    """Where the sampler takes noises on the line, as numbers on the line."""
    denoiser = FOLDED.select(torch.zeros(len(z), dtype=torch.long))
    start = torch.stack([z, torch.zeros_like(z)], 1) @ TURN.T
    return (sample(denoiser, start, FEW).image @ TURN)[:, 0]


def pieces() -> list[tuple[Tensor, Tensor]]:
    """A fine grid of noises cut where the sampler turns: noises and images, piece by piece."""
    z = torch.linspace(-7, 7, 40_001, dtype=torch.float64)
    x = along(z)
    turns = (x.diff()[1:] * x.diff()[:-1] < 0).nonzero().flatten() + 1
    cuts = [0, *turns.tolist(), len(z) - 1]
    spans = zip(cuts, cuts[1:], strict=False)
    return [(z[a : b + 1], x[a : b + 1]) for a, b in spans]


def all_noises(x: float, parts: list[tuple[Tensor, Tensor]]) -> list[float]:
    """Every noise on the line of an image on it, by bisection on each piece."""
    found = []
    for z, image in parts:
        low, high = (z[0], z[-1]) if image[0] < image[-1] else (z[-1], z[0])
        if not image.min() < x < image.max():
            continue
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if along(middle[None]) < x else (low, middle)
        found.append(((low + high) / 2).item())
    return found


@cache
def three_noises() -> tuple[float, list[float]]:
    """An image on the line that has three noises, and these."""
    parts = pieces()
    for x in torch.linspace(-3, 3, 61).tolist():
        if sum(bool(image.min() < x < image.max()) for _, image in parts) == 3:
            return x, all_noises(x, parts)
    raise AssertionError("no image has three noises")


def test_the_sum_over_all_noises_integrates_to_one() -> None:
    """In the plane, for a sampler with several noises; without the sum it does not."""
    parts = pieces()
    edges = sorted({round(v.item(), 9) for _, x in parts for v in x[[0, -1]]})
    assert len(parts) >= 3
    points, weights = gauss_legendre(8)
    across, across_weights = torch.linspace(-3.6, 3.6, 7).double(), 1.2
    total = alone = 0.0
    scale = (sample(FOLDED, TURN[:, 1][None], FEW).image - sample(FOLDED, 0 * TURN[:1], FEW).image)[
        0
    ] @ TURN[:, 1]
    for a, b in zip(edges, edges[1:], strict=False):
        for point, weight in zip(points.tolist(), weights.tolist(), strict=True):
            angle = math.pi / 4 * (1 + point)  # x = a + (b - a) sin^2: no singularity at a caustic
            x = a + (b - a) * math.sin(angle) ** 2
            width = weight * math.pi / 4 * (b - a) * math.sin(2 * angle)
            noises = all_noises(x, parts)
            for v in across.tolist():
                found = plane_weights(x, v * scale.item(), noises, v)
                total += width * abs(scale.item()) * found.exp().sum().item() * across_weights
                alone += width * abs(scale.item()) * found.exp().max().item() * across_weights
    assert total == pytest.approx(1, abs=1e-3)
    assert alone < 0.95


def gauss_legendre(count: int) -> tuple[Tensor, Tensor]:
    """Points and weights on [-1, 1], by the eigenvalues of the Jacobi matrix."""
    k = torch.arange(1, count, dtype=torch.float64)
    side = k / (4 * k**2 - 1).sqrt()
    values, vectors = torch.linalg.eigh(torch.diag(side, 1) + torch.diag(side, -1))
    return values, 2 * vectors[0] ** 2


def determinants(rule: Estimate, problem: Problem, *runs: Tensor) -> tuple[Determinant, ...]:
    """Of several runs of the first sample."""
    return rule(problem, torch.zeros(len(runs), dtype=torch.long), torch.cat(runs, 1))


def plane_weights(x: float, y: float, noises: list[float], v: float) -> Tensor:
    """What the noises of a point of the plane contribute to its likelihood, by the library."""
    image = torch.tensor([[x, y]], dtype=torch.float64) @ TURN.T
    problem = Problem.of(FOLDED, FEW, image)
    starts = [torch.tensor([[z, v]], dtype=torch.float64) @ TURN.T for z in noises]
    runs = [problem.states(0, start) for start in starts]
    for states in runs:
        torch.testing.assert_close(states[-1], image, rtol=0, atol=1e-6)
    return log_weights(weighed(problem, 0, runs, determinants(exactly, problem, *runs)))


def test_more_searches_find_more_of_the_sum_and_the_odds_are_those_of_the_weights() -> None:
    """At a point with three noises; without more searches the sum has one term."""
    x, noises = three_noises()
    image = torch.tensor([[x, 0.0]], dtype=torch.float64) @ TURN.T
    one = likelihood(FOLDED, image, [FEW]).candidates[0]
    more = likelihood(FOLDED, image, [FEW], others=8).candidates[0]
    everything = plane_weights(x, 0.0, noises, 0.0)
    assert len(one.roots[0]) == 1
    assert len(more.roots[0]) >= 3  # and far ones, of no weight
    assert one.log_p[0] < more.log_p[0]
    assert more.log_p[0].item() == pytest.approx(everything.logsumexp(0).item(), abs=1e-6)
    shares = odds(more.roots[0])
    assert shares.sum().item() == pytest.approx(1)
    assert (shares.diff() <= 0).all()


def test_signs_of_determinants_tell_that_a_noise_was_left_out() -> None:
    """They add up to 1 over all noises, so that any one that is left out is missed."""
    x, noises = three_noises()
    image = torch.tensor([[x, 0.0]], dtype=torch.float64) @ TURN.T
    starts = [torch.tensor([[z, 0.0]], dtype=torch.float64) @ TURN.T for z in noises]
    problem = Problem.of(FOLDED, FEW, image)
    runs = [problem.states(0, z * FEW.scale) for z in starts]
    roots = weighed(problem, 0, runs, determinants(exactly, problem, *runs))
    assert sorted(root.determinant.sign for root in roots) == [-1, 1, 1]
    found = likelihood(FOLDED, image, [FEW], naive=False)
    whole = replace(found.candidates[0], roots=(roots,))
    assert whole.degree.tolist() == [1] and not whole.missed.any()
    assert "missed" not in str(replace(found, candidates=(whole,)))
    for left in (r for r in roots if r.determinant.sign < 0 or r is roots[0]):
        less = replace(whole, roots=(tuple(r for r in roots if r is not left),))
        assert less.degree.item() == 1 - left.determinant.sign and less.missed.all()
        assert f"a noise was missed of {less.name}" in str(replace(found, candidates=(less,)))
    estimated = replace(roots[0], determinant=replace(roots[0].determinant, sign=math.nan))
    unknown = replace(whole, roots=((estimated,),))
    assert unknown.degree.isnan().all() and not unknown.missed.any()


def test_the_original_noise_comes_first_as_often_as_the_odds_say() -> None:
    """At guidance 7.5, five steps, in the plane: of those samples where all is found."""
    solver, noise = ddim(SCHEDULE.grid(5)), randn(16, 2, seed=9)
    denoiser = prompted(16, 7.5, mixture=twelve(dim=2), seed=3)
    image = sample(denoiser, noise, solver).image
    all_roots = likelihood(denoiser, image, [solver], others=3, naive=False).candidates[0].roots
    first, shares = [], []
    for z, roots in zip(noise, all_roots, strict=True):
        known = [(root.first - z).norm() < 1e-4 * z.norm() for root in roots]
        if len(roots) > 1 and any(known):
            first.append(bool(known[0]))
            shares.append(odds(roots)[0].item())
    expected = torch.tensor(shares)
    spread = (expected * (1 - expected)).sum().sqrt()
    assert len(first) >= 8
    assert abs(sum(first) - expected.sum()) < 3 * spread + 0.5


# ---- estimates -----------------------------------------------------------------------------------

DIM = 24
CASES = 20


def network(seed: int, size: float = 1.0) -> Callable[[Tensor, Tensor], Tensor]:
    """A random network, not symmetric, whose Jacobian differs from state to state."""
    inner, outer = randn(DIM, 60, seed=seed), randn(60, DIM, seed=seed + 100)

    def function(x: Tensor, t: Tensor) -> Tensor:
        return size * torch.tanh(x @ inner / DIM**0.5) @ outer / 60**0.5 + 0.3 * x

    return function


def case(seed: int) -> tuple[Problem, Tensor]:
    solver = list(SOLVERS.values())[seed % 3]
    denoiser = predicting(network(seed), "epsilon")
    made = sample(denoiser, randn(1, DIM, seed=seed), solver)
    return Problem.of(denoiser, solver, made.image), made.states


def test_estimates_agree_with_exact_determinants_within_their_errors() -> None:
    """Standard scores of twenty cases are those of Student's t: neither too large nor too small."""
    scores = []
    for seed in range(CASES):
        problem, states = case(seed)
        rule = Quadrature(vectors=8, seed=seed)
        [estimate] = determinants(rule, problem, states)
        [exact] = determinants(exactly, problem, states)
        assert estimate.error > 0
        assert exact.error == 0
        scores.append((estimate.value - exact.value) / estimate.error)
    square = torch.tensor(scores).square()
    within = square < 2.36**2  # 95 % of Student's t with 7 degrees of freedom
    assert within.sum() >= CASES - 4
    assert 0.3 < square.mean() < 3


@pytest.mark.parametrize("seed", [0, 1])  # DDIM, step by step, and 2M, the sampler as a whole
def test_all_vectors_and_all_steps_give_the_exact_determinant(seed: int) -> None:
    """The basis instead of random vectors, and as many steps as numbers."""
    problem, states = case(seed)
    network = Derivatives(problem.denoiser, problem.solver, 50)
    eye, one_step = torch.eye(DIM).double(), problem.solver.order_one
    start = eye.repeat_interleave(problem.solver.steps, 0) if one_step else eye
    pair = (step_products if one_step else sampler_products)(network, states, DIM)
    *_, last = rules(*pair, start, DIM)
    exact = determinants(exactly, problem, states)[0].value
    assert last.sum().item() == pytest.approx(exact, abs=1e-8)


@pytest.mark.parametrize("most", [None, 16, 1])  # all together; two at a time; one by one
@pytest.mark.parametrize("build", [ddim, dpm_solver_pp_2m])
def test_determinants_of_several_samples_are_those_of_each(
    build: Callable[..., Solver], most: int | None
) -> None:
    """Guided by prompts of their own, at steps that are a fixed number: no tolerance ends them."""
    solver, network = build(SCHEDULE.grid(4)), prompted(3, 2.0)
    made = sample(network, randn(3, 64), solver)
    problem = Problem.of(network, solver, made.image)
    rule = Quadrature(vectors=2, steps=5, tol=0, max_batch=most)
    rows = torch.tensor([2, 0, 1, 0])
    together = rule(problem, rows, made.states[:, rows])
    for row, found in zip(rows.tolist(), together, strict=True):
        [alone] = rule(problem, torch.tensor([row]), made.states[:, row : row + 1])
        assert found.nfe == alone.nfe
        torch.testing.assert_close(found.draws, alone.draws, rtol=1e-9, atol=1e-9)
    assert len({round(found.value, 6) for found in together}) == 3


def test_products_are_those_of_the_jacobian_and_its_transpose() -> None:
    problem, states = case(2)
    scale, noise = problem.solver.scale, states[0, 0] / problem.solver.scale
    jacobian = torch.func.jacfwd(
        lambda z: sample_image(problem.denoiser, z[None], problem.solver)[0]
    )(noise)
    network = Derivatives(problem.denoiser, problem.solver, 2)
    push, pull = sampler_products(network, states, 3)
    v = randn(3, DIM, seed=4)
    torch.testing.assert_close(push(v), v @ jacobian.T / scale)
    torch.testing.assert_close(pull(v), v @ jacobian / scale)


def test_differences_of_like_candidates_are_sharper_than_their_likelihoods() -> None:
    """The candidates share their random vectors; and the error of the difference covers it."""
    problem, _ = case(3)
    solver = problem.solver
    other = predicting(network(3, 1.02), "epsilon")
    pairs = {"true": (problem.denoiser, solver), "nearly": (other, solver)}
    rough = likelihood(None, problem.image, pairs, determinant=Quadrature(8))
    exact = likelihood(None, problem.image, pairs)
    value, error = rough.difference(0, 1)
    assert abs(value - exact.difference(0, 1)[0]) < 4 * error
    assert exact.difference(0, 1)[1] == 0
    assert error < rough.error.min().item() / 5


def test_an_estimate_says_when_it_was_cut_short() -> None:
    """Three Lanczos steps are too few, and the error says so, though all vectors agree."""
    problem, states = case(1)
    [short] = determinants(Quadrature(vectors=64, steps=3), problem, states)
    exact = determinants(exactly, problem, states)[0].value
    assert short.value > exact  # the rule comes from above
    assert short.truncation > 0.3 * (short.value - exact)
    assert short.error > short.draws.std().item() / 8


@pytest.mark.parametrize("seed", [0, 1])
def test_an_estimate_ends_with_its_budget_and_its_error_says_so(seed: int) -> None:
    """What it takes counts for who watches; the first steps alone leave the error unknown."""
    problem, states = case(seed)
    rule = Quadrature(vectors=4, tol=1e-9)
    seen: list[Progress] = []
    with watching(Watch(callback=seen.append)):
        [whole] = determinants(rule, problem, states)
    assert [p.phase for p in seen] == ["determinant"] * len(seen)
    assert seen[-1].evaluations == whole.nfe > 1000
    with watching(Watch(budget=Budget(evaluations=300))):
        [short] = determinants(rule, problem, states)
    assert 300 <= short.nfe < 600 and short.nfe < whole.nfe
    assert short.truncation > 0.3 * (short.value - whole.value) > whole.truncation
    assert short.error > short.draws.std().item() / 2


def test_derivatives_in_forward_mode_are_the_same() -> None:
    """So that networks behind NumPy have likelihoods, too, to the error of their differences."""
    problem, states = case(4)
    given = problem.denoiser, problem.solver, states
    torch.testing.assert_close(node_blocks(*given), forward_blocks(*given))
    function = network(4)
    outside = bridged(
        lambda x, t: function(x, t).numpy(), prediction="epsilon", dtype=torch.float64
    )
    candidates = [(outside, problem.solver), (problem.denoiser, problem.solver)]
    found = likelihood(None, problem.image, candidates).log_p
    assert found[0, 0].item() == pytest.approx(found[1, 0].item(), abs=1e-6)
    with pytest.raises(NotImplementedError, match="reverse-mode"):
        likelihood(outside, problem.image, [problem.solver], determinant=Quadrature())


# ---- results -------------------------------------------------------------------------------------


def test_the_posterior_is_bayes_and_the_sentence_names_the_candidate() -> None:
    solver = SOLVERS["DDIM"]
    networks = {
        name: replace(one_gaussian(SCHEDULE, 3), means=torch.full((1, 3), centre).double())
        for name, centre in (("left", -0.2), ("middle", 0.0), ("right", 0.2))
    }
    image = sample(networks["left"], randn(2, 3, seed=5), solver).image
    pairs = {name: (network, solver) for name, network in networks.items()}
    priors = [0.2, 0.5, 0.3]
    found = likelihood(None, image, pairs, priors=priors)
    weight = found.log_p.exp() * torch.tensor(priors)[:, None]
    torch.testing.assert_close(found.posterior, weight / weight.sum(0), rtol=1e-6, atol=0)
    assert found.best.tolist() == weight.argmax(0).tolist()
    name = found.names[found.best[1]]
    assert f"of these candidates {name}, with probability" in found.sentence(1)
    assert all(name in found.table(1) for name in pairs)
    assert str(found).count("of these candidates") == 2


def test_an_image_without_a_noise_has_likelihood_zero() -> None:
    """The sampler of a bounded data prediction that ends at no noise reaches no far image."""
    solver = dpm_solver_pp_2m(SCHEDULE.grid(5, final="zero"))
    bounded = predicting(lambda x, t: torch.tanh(x), "sample")
    image = torch.tensor([[3.0, 0.0]], dtype=torch.float64)
    found = likelihood(None, image, {"bounded": (bounded, solver)}, method="multisecant")
    assert found.log_p.item() == -math.inf
    assert found.candidates[0].roots == ((),)
    why = found.candidates[0].reason[0]
    assert why in ("stalled", "diverged")
    assert found.sentence() == f"no noise was found for bounded (search ended: {why})"
    assert found.best.tolist() == [-1] and found.posterior.isnan().all()
    linear = predicting(lambda x, t: 0.9 * x, "sample")
    pairs = {"bounded": (bounded, solver), "linear": (linear, solver)}
    both = likelihood(None, image, pairs, method="multisecant")
    assert both.posterior[:, 0].tolist() == [0, 1]
    assert both.sentence().startswith("linear: no noise was found for bounded (search ended: ")
    assert both.best.tolist() == [1]
    alone = likelihood(None, image, {"linear": (linear, solver)}, method="multisecant")
    assert alone.sentence() == "linear has a noise that makes these latents; it is the only one"


def test_a_search_that_was_cut_off_is_not_said_to_have_no_noise() -> None:
    """The true candidate's budget is spent, so that a wrong one is all that is left."""
    solver = SOLVERS["DDIM"]
    networks = {
        name: replace(one_gaussian(SCHEDULE, 3), means=torch.full((1, 3), centre).double())
        for name, centre in (("left", -0.2), ("middle", 0.0), ("right", 0.2))
    }
    image = sample(networks["left"], randn(2, 3, seed=5), solver).image

    def cut(network: Denoiser, image: Tensor, solver: Solver) -> Inversion:
        budget = Budget(evaluations=3) if network is networks["left"] else None
        return invert(network, image, solver, budget=budget)

    pairs = {name: (network, solver) for name, network in networks.items()}
    some = likelihood(None, image, pairs, method=cut)
    assert [c.reason for c in some.candidates] == [("budget",) * 2, *[("converged",) * 2] * 2]
    for sample_ in (0, 1):
        said = some.sentence(sample_)
        assert said.startswith("of these candidates ")
        assert said.endswith("; no noise was found for left (search ended: budget)")
        assert said in str(some)
    one = likelihood(None, image, {k: pairs[k] for k in ("left", "right")}, method=cut)
    assert one.sentence() == "right: no noise was found for left (search ended: budget)"
    rough = likelihood(None, image, pairs, method="stepwise")
    assert rough.candidates[0].reason == ("converged",) * 2 and "search" not in rough.sentence()
    rough = likelihood(None, image, {"left": pairs["left"]}, method="naive")
    assert rough.sentence() == "no noise was found for left (search ended: explicit)"


def test_errors_of_several_noises_are_weighed_by_their_odds() -> None:
    draws = torch.tensor([1.0, 3.0]).double()
    assert Determinant(2.0, draws, 0.0, 1).error == pytest.approx(1)
    assert Determinant(2.0, draws, 3.0, 1).error == pytest.approx(10**0.5)
    assert Determinant(2.0, torch.zeros(0), 0.0, 1).error == 0


def compared(*parts: tuple[float, Tensor, float]) -> Likelihoods:
    """Candidates with one noise each, of a log-likelihood, draws and truncation."""
    one, made = torch.zeros(1), []
    for log_p, draws, truncation in parts:
        root = Root(one, one, -1.0, Determinant(1.0, draws, truncation, 1))
        error = torch.tensor([root.determinant.error]).double()
        value, scores = torch.tensor([log_p]).double(), Scores(one, one, one)
        made.append(
            CandidateLikelihood("c", value, error, ((root,),), scores, one.long(), ("budget",))
        )
    return Likelihoods(tuple(made), torch.zeros(len(made)).double())


@pytest.mark.parametrize("count", [2, 3, 9])
@pytest.mark.parametrize("lead", [0.5, 6.0])
def test_probabilities_are_averaged_over_the_error_of_the_lead(lead: float, count: int) -> None:
    """By Student's density in one integral; two vectors leave one degree of freedom."""
    draws = randn(2, count, seed=1)
    found = compared((lead, draws[0], 0.0), (0.0, 3.0 * draws[1], 0.0))
    degrees, scale = count - 1, found.difference(0, 1)[1]
    angle = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000 * math.pi - math.pi / 2
    t = degrees**0.5 * angle.tan()  # under which Student's density is a power of the cosine
    weight = angle.cos() ** (degrees - 1)
    expected = ((lead + scale * t).sigmoid() * weight).sum() / weight.sum()
    assert found.posterior[0, 0].item() == pytest.approx(expected.item(), abs=2e-3)
    assert found.posterior.sum().item() == pytest.approx(1)
    assert abs(expected - torch.sigmoid(torch.tensor(lead))) > 5e-3


@pytest.mark.parametrize(("count", "factor"), [(2, 12.71), (3, 4.303), (9, 2.306)])
def test_a_lead_is_stated_within_the_bound_of_student(count: int, factor: float) -> None:
    """The tabulated quantiles of .975; one standard error was stated, which misses often."""
    draws = randn(2, count, seed=3)
    found = compared((9.0, draws[0], 0.0), (0.0, draws[1], 0.0))
    error = found.difference(0, 1)[1]
    assert found.within(0, 1) == pytest.approx(factor * error, rel=0.05)
    assert f"9.0 +- {found.within(0, 1):.1g} nats (95%) above" in found.sentence()


def test_errors_that_candidates_share_move_no_probability() -> None:
    draws = 100 * randn(4, seed=2)
    found = compared((2.0, draws, 50.0), (0.0, draws + 1, 50.0))
    assert found.posterior[0, 0].item() == pytest.approx(1 / (1 + math.exp(-2)))
    unknown = compared((2.0, draws, math.inf), (0.0, draws, math.inf))
    assert unknown.posterior[0, 0].item() == pytest.approx(0.5, abs=0.01)
    exact = compared((2.0, torch.zeros(0), 0.0), (0.0, torch.zeros(0), 0.0))
    assert exact.posterior[0, 0].item() == pytest.approx(1 / (1 + math.exp(-2)))


def test_the_error_of_a_difference_is_infinite_where_that_of_a_likelihood_is() -> None:
    """It was none, NaN, where both were cut short before anything was known."""
    draws = torch.tensor([1.0, 1.2]).double()
    found = compared((-2.0, draws, math.inf), (-2.0, draws, math.inf), (-2.0, draws, 1.0))
    assert found.difference(0, 1) == found.difference(0, 2) == (0.0, math.inf)
    assert "+- inf nats" in found.sentence()


def test_white_noise_is_white_and_smooth_noise_is_not() -> None:
    white = whiteness(randn(200, 3, 16, 16, seed=6))
    assert white.square().mean().item() == pytest.approx(1, abs=0.15)
    smooth = randn(4, 3, 17, 16, seed=7)
    assert whiteness(smooth[:, :, 1:] + smooth[:, :, :-1]).min() > 5


@pytest.mark.parametrize(
    ("candidates", "more", "error", "message"),
    [
        ({}, {}, ValueError, "no candidate"),
        ([3], {}, TypeError, "a pair of a denoiser and a solver"),
        ([SOLVERS["DDIM"]], {"priors": [1, 2]}, ValueError, "1 numbers"),
        ([SOLVERS["DDIM"]], {"priors": [-1]}, ValueError, "not negative"),
        ([SOLVERS["DDIM"]], {"prompt": "a cat"}, TypeError, "prompt"),
        ([SOLVERS["DDIM"]], {"method": "naive", "others": 2}, ValueError, "others"),
        ([{"prompt": "a cat"}], {}, TypeError, "no diffusers pipeline"),
    ],
)
def test_wrong_input_is_refused(
    candidates: object, more: dict, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        likelihood(one_gaussian(SCHEDULE, 3), randn(1, 3), candidates, **more)


def test_names_are_made_of_what_the_candidates_are() -> None:
    solver = SOLVERS["DDIM"]
    found: Likelihoods = likelihood(one_gaussian(SCHEDULE, 3), randn(1, 3), [solver, solver])
    assert found.names == ("DDIM-8", "DDIM-8 (2)")
