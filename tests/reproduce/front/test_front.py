"""The open front: its methods work where the answer is known, and its evidence is right."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import partial

import pytest
import torch
from analytic import noise_prediction, one_gaussian, randn
from torch import Tensor
from twelve import SCHEDULE, error_db, run

from invlib.certificate import sample_image
from invlib.denoisers import in_float64
from invlib.evaluator import Tally
from invlib.inverters import whole_trajectory
from invlib.inverters.starts import random_states
from invlib.portraits import caption, held_out, load, portraits_denoiser
from invlib.precision import roundoff
from invlib.reproduce.front.cells import (
    JACOBIANS,
    PRECISE,
    attempt_row,
    cells,
    jacobian_row,
    shares,
)
from invlib.reproduce.front.jacobian import changed, image_jacobian, node_blocks, turned
from invlib.reproduce.front.levenberg import damped_step, levenberg_marquardt
from invlib.reproduce.front.line import GuidanceLine, StrengthLine
from invlib.reproduce.front.methods import METHODS, coarse_states
from invlib.reproduce.front.path import follow, guidance_path
from invlib.reproduce.front.trace import turns
from invlib.sampling import sample
from invlib.solvers import Solver, dpm_solver_pp_1, dpm_solver_pp_2m

SOLVER = dpm_solver_pp_2m(SCHEDULE.grid(10))


def test_levenberg_marquardt_solves_a_gaussian() -> None:
    denoiser, noise = one_gaussian(SCHEDULE), randn(3, 3)
    image = sample(denoiser, noise, SOLVER).image
    finder = partial(levenberg_marquardt, max_iterations=15)
    with torch.no_grad():
        found = whole_trajectory(denoiser, image, SOLVER, finder=finder, finish=None)
    assert found.converged.all()
    assert (error_db(found.noise, noise) < -200).all()
    assert (found.nfe > 10 * 10).all()  # both derivatives are counted


def test_damped_step_solves_the_normal_equations() -> None:
    matrix, r, mu = randn(2, 6, 4, seed=1), randn(2, 6, seed=2), torch.tensor([0.1, 3.0]).double()
    forward = lambda v: (matrix @ v[:, :, None])[:, :, 0]  # noqa: E731
    backward = lambda u: (matrix.mT @ u[:, :, None])[:, :, 0]  # noqa: E731
    step, change = damped_step(forward, backward, r, mu, inner=8)
    normal = matrix.mT @ matrix + mu[:, None, None] * torch.eye(4)
    assert torch.allclose(step, torch.linalg.solve(normal, -backward(r)), atol=1e-10)
    assert torch.allclose(change, forward(step))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_inverts_the_mixture(name: str) -> None:
    """Exactly, or (Levenberg-Marquardt has few iterations) nearly so."""
    denoiser, noise, trajectory = run(1, 3.0, SOLVER)
    with torch.no_grad():
        found = METHODS[name](denoiser, trajectory.image, SOLVER)
    assert error_db(found.noise, noise).item() < (-100 if name == "Levenberg-Marquardt" else -200)
    assert (found.nfe >= 10).all()


@pytest.mark.parametrize("kind", ["guidance", "strength"])
def test_a_path_arrives_at_a_root(kind: str) -> None:
    denoiser, _, trajectory = run(1, 3.0, SOLVER)
    image = trajectory.image
    if kind == "strength":
        line, start, end = StrengthLine.of(denoiser, image, SOLVER), 0.0, 1.0
        y = (SOLVER.alpha[:-1] / SOLVER.alpha[-1])[:, None] * image
    else:
        line, start, end = GuidanceLine.of(denoiser, image, SOLVER), 1.0, 3.0
        y = whole_trajectory(replace(denoiser, scale=1.0), image, SOLVER).states[:-1, 0]
    first = line.outputs(y)
    assert line.residual(y, first, start).norm() < 1e-9
    with torch.no_grad():
        path = follow(line, y, start, end, max_rounds=250)
    assert path.parameter[0] == start
    assert path.parameter[-1] == end
    assert path.rounds[-1] < 250
    assert error_db(sample(denoiser, path.y[:1], SOLVER).image, image).item() < -60


def test_the_tangent_is_the_derivative_of_the_root() -> None:
    denoiser, _, trajectory = run(1, 3.0, SOLVER)
    ends = []
    for scale in (2.999, 3.001):
        one = replace(denoiser, scale=scale)
        ends.append(whole_trajectory(one, trajectory.image, SOLVER).states[:-1, 0])
    line = GuidanceLine.of(denoiser, trajectory.image, SOLVER)
    y = trajectory.states[:-1, 0]
    tangent = line.tangent(y, line.outputs(y), 3.0, tol=1e-2, most=10)
    wanted = (ends[1] - ends[0]) / 0.002
    assert (tangent - wanted).norm() / wanted.norm() < 1e-2


def test_a_path_in_guidance_needs_guidance() -> None:
    denoiser = one_gaussian(SCHEDULE)
    with pytest.raises(ValueError, match="guided"):
        guidance_path(denoiser, randn(1, 3), SOLVER)


def test_the_embedded_network_in_float64_is_the_same_network() -> None:
    pipe = load("portraits")
    denoiser = portraits_denoiser(pipe, [caption(p) for p in held_out(1)], 7.5)
    x, t = randn(1, 4, 16, 16), torch.tensor([500.0])
    with torch.no_grad():
        rough, fine = denoiser(x, t), in_float64(denoiser)(x, t)
    assert (rough.dtype, fine.dtype) == (torch.float32, torch.float64)
    assert torch.allclose(rough.double(), fine, atol=1e-4)
    for network, size in ((denoiser, 1e-7), (in_float64(denoiser), 1e-15)):
        tally, image = Tally.start(network, x, SOLVER)
        y = random_states(image, SOLVER, 0)[:-1].transpose(0, 1)
        found = roundoff(tally, y, torch.arange(1)).outputs
        assert (size / 10 < found).all() and (found < 100 * size).all()
    assert pipe.unet.dtype == torch.float32


@pytest.mark.parametrize("steps", [10, 20])
def test_coarse_states_stand_at_the_coarse_times(steps: int) -> None:
    fine, coarse = dpm_solver_pp_2m(SCHEDULE.grid(40)), dpm_solver_pp_2m(SCHEDULE.grid(steps))
    states = fine.alpha[:, None, None] * torch.ones(1, 1, 3)
    at = coarse_states(states, coarse)
    assert at.shape == (steps + 1, 1, 3)
    assert torch.allclose(at[:, 0, 0], coarse.alpha, atol=1e-3)
    with pytest.raises(ValueError, match="do not divide"):
        coarse_states(states, dpm_solver_pp_2m(SCHEDULE.grid(7)))


def test_jacobian_is_that_of_the_sampler() -> None:
    denoiser, noise, trajectory = run(1, 7.5, SOLVER)
    with torch.no_grad():
        blocks = node_blocks(denoiser, SOLVER, trajectory.states, chunk=3)
    found = image_jacobian(SOLVER, blocks)
    size = noise[0].numel()
    wanted = torch.func.jacrev(lambda z: sample_image(denoiser, z, SOLVER))(noise)
    assert torch.allclose(found, wanted.view(size, size), rtol=1e-10, atol=1e-12)
    assert torch.allclose(image_jacobian(SOLVER, changed(blocks, 0)), found, rtol=1e-2, atol=1e-3)


@noise_prediction
def fold(x: Tensor, t: Tensor) -> Tensor:
    """A bounded noise prediction, steep enough at 0 to fold the first coordinate."""
    return torch.cat([3 * torch.tanh(5 * x[:, :1]), torch.tanh(x[:, 1:])], 1)


def one_step() -> Solver:
    return dpm_solver_pp_1(SCHEDULE.grid(1))


def test_signs_of_a_known_fold_sum_to_the_degree() -> None:
    """One step of DDIM on ``fold``: 0 has a negative determinant, so two more noises give 0."""
    solver = one_step()
    scan = torch.linspace(-4, 4, 4001, dtype=torch.float64)
    line = torch.stack([scan, torch.zeros_like(scan)], 1)
    image = sample(fold, line, solver).image[:, 0]
    crossings = scan[:-1][image[:-1] * image[1:] <= 0]
    zeros = torch.tensor([crossings.min(), 0.0, crossings.max()], dtype=torch.float64)
    signs, counts = [], []
    for z in zeros:
        states = sample(fold, torch.stack([z, torch.zeros_like(z)])[None], solver).states
        blocks = node_blocks(fold, solver, states)
        signs.append(torch.linalg.slogdet(image_jacobian(solver, blocks))[0].item())
        counts.append(turned(solver, blocks).tolist())
    assert signs == [1, -1, 1]
    assert counts == [[0], [1], [0]]
    assert sum(signs) == 1


def test_turns_of_a_path() -> None:
    path = torch.tensor([0.0, 0.3, 0.5, 0.4, 0.35, 0.6, 1.0])
    assert torch.equal(turns(path), torch.tensor([0.5, 0.35]))
    assert not len(turns(torch.tensor([0.0, 0.5, 1.0])))


def test_cells_are_well_formed() -> None:
    work = cells("tiny")
    assert len({str(cell.config) for cell in work}) == len(work)
    assert pickle.loads(pickle.dumps(work)) == work
    others = [cell for cell in work if "method" not in cell.options]
    assert len(others) == sum(JACOBIANS.values()) + sum(PRECISE.values()) + 1  # one long path


def test_rows_count_exact_and_original_apart() -> None:
    options = {"name": "2M-10", "guidance": 7.5, "method": "multisecant", "image": 0}
    values = {"residual": 1e-6, "mean_square": 1.5, "nfe": 300, "seconds": 2.0}
    fixed = {k: torch.tensor(v) for k, v in values.items()}
    pairs = ((1e-12, 1e-12), (1e-12, 2.0), (1e-3, 1.0))  # round trip and noise
    rows = [
        attempt_row(options, fixed | {"round_trip": torch.tensor(a), "noise_nmse": torch.tensor(b)})
        for a, b in pairs
    ]
    (row,) = shares(rows)
    assert (row["samples"], row["exact"], row["original"], row["other_noise"]) == (3, 2, 1, 1)
    result = {
        "singular": torch.tensor([2.0, 1.0, 0.5]),
        "smallest": torch.tensor([0.5]),
        "sign": torch.tensor(-1.0),
        "same_sign": torch.tensor(1.0),
        "log_determinant": torch.tensor(0.0),
        "turned": torch.tensor([0, 1]),
    }
    assert jacobian_row(options, result)["condition"] == 4
    assert jacobian_row(options, result)["sign"] == -1
