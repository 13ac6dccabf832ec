"""Probing: every scheduler of diffusers is read as a table, or refused with the reason."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
from analytic import (
    SD,
    diffusers_loop,
    gaussian_path,
    mixture,
    one_gaussian,
    randn,
    relative,
)
from torch import Tensor

from invlib.denoisers import Prediction, parts, predicting
from invlib.probing import Loop, NotInvertible, _first, from_scheduler, network_prediction
from invlib.sampling import sample
from invlib.schedule import FlowSchedule, Grid, Schedule
from invlib.solvers import (
    Solver,
    ddim,
    dpm_solver_2m,
    dpm_solver_pp_2m,
    dpm_solver_pp_3m,
)

NO_CLIP = {"clip_sample": False}
ZERO_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
V = {"prediction_type": "v_prediction"}

# What a scheduler that is read computes in: the bound on table minus loop, relative.
DOUBLE, SINGLE = 1e-12, 1e-6
HUGE = 3e-4  # float32 states of size 2e4: Euler on a cosine schedule

# class: (arguments of the constructor, the bound if it is read or the reason if it is refused)
EXPECTED: dict[str, tuple[dict[str, Any], float | str]] = {
    "AmusedScheduler": ({"mask_token_id": 0}, "discrete tokens"),
    "BlockRefinementScheduler": ({}, "discrete tokens"),
    "CMStochasticIterativeScheduler": ({}, "clip_denoised"),
    "CogVideoXDDIMScheduler": (NO_CLIP, DOUBLE),
    "CogVideoXDPMScheduler": (NO_CLIP, "needs arguments in step: old_pred_original_sample"),
    "CosineDPMSolverMultistepScheduler": ({}, "stochastic"),
    "DDIMInverseScheduler": (NO_CLIP, DOUBLE),
    "DDIMParallelScheduler": (NO_CLIP, DOUBLE),
    "DDIMScheduler": (NO_CLIP, DOUBLE),
    "DDPMParallelScheduler": (NO_CLIP, "stochastic"),
    "DDPMScheduler": (NO_CLIP, "stochastic"),
    "DDPMWuerstchenScheduler": ({}, "own loop fails"),  # wants one time per sample; stochastic
    "DEISMultistepScheduler": (SD, DOUBLE),
    "DPMSolverMultistepInverseScheduler": (SD, DOUBLE),
    "DPMSolverMultistepScheduler": (SD, SINGLE),
    "DPMSolverSDEScheduler": ({}, "stochastic"),
    "DPMSolverSinglestepScheduler": (SD, DOUBLE),
    "DiscreteDDIMScheduler": ({}, "discrete tokens"),
    "EDMDPMSolverMultistepScheduler": ({}, SINGLE),
    "EDMEulerScheduler": ({}, SINGLE),
    "EntropyBoundScheduler": ({}, "discrete tokens"),
    "EulerAncestralDiscreteScheduler": (SD, "stochastic"),
    "EulerDiscreteScheduler": (SD, SINGLE),
    "FlowMapEulerDiscreteScheduler": ({}, DOUBLE),
    "FlowMatchEulerDiscreteScheduler": ({}, SINGLE),
    "FlowMatchHeunDiscreteScheduler": ({}, SINGLE),
    "FlowMatchLCMScheduler": ({}, "stochastic"),
    "HeliosDMDScheduler": ({}, "own loop fails"),  # wants the stage of its pyramid
    "HeliosScheduler": ({"stages": 1}, SINGLE),
    "HeunDiscreteScheduler": (SD, DOUBLE),
    "IPNDMScheduler": ({}, SINGLE),
    "KDPM2AncestralDiscreteScheduler": (SD, "stochastic"),
    "KDPM2DiscreteScheduler": (SD, DOUBLE),
    "KarrasVeScheduler": ({}, "needs arguments in step: sample_hat, sigma_hat, sigma_prev"),
    "LCMScheduler": ({}, "stochastic"),
    "LMSDiscreteScheduler": (SD, DOUBLE),
    "LTXEulerAncestralRFScheduler": ({}, "stochastic"),
    "MiniMaxH3Scheduler": ({}, DOUBLE),
    "PNDMScheduler": (SD, DOUBLE),
    "PiflowScheduler": ({}, "own loop fails"),  # its networks return several tensors in one
    "RFD4ProteinaScheduler": (
        {"schedule_mode": "log", "noise_mode": "tan", "tsr_k": 1.0, "tsr_sigma": 1.0},
        "needs arguments in step: emit_mask",
    ),
    "RePaintScheduler": ({}, "needs arguments in step: mask, original_image"),
    "SASolverScheduler": (SD, "stochastic"),
    "SCMScheduler": ({}, "own loop fails"),  # two steps, the last time is not one; stochastic
    "ScoreSdeVeScheduler": ({}, "no method step"),
    "TCDScheduler": ({}, "stochastic"),
    "UnCLIPScheduler": ({"clip_sample": False}, "stochastic"),
    "UniPCMultistepScheduler": (SD, DOUBLE),
    "VQDiffusionScheduler": ({"num_vec_classes": 4}, "discrete tokens"),
}
NEED_OTHER_PACKAGES = {
    "CosineDPMSolverMultistepScheduler": "torchsde",
    "DPMSolverSDEScheduler": "torchsde",
    "LMSDiscreteScheduler": "scipy",
}

# More options of what is read: (class, arguments, bound)
VARIANTS: list[tuple[str, dict[str, Any], float]] = [
    ("DDIMScheduler", {**SD, **NO_CLIP, **V, **ZERO_SNR}, DOUBLE),
    ("DDIMScheduler", {**SD, **NO_CLIP, "prediction_type": "sample"}, DOUBLE),
    ("DDIMScheduler", {"beta_schedule": "squaredcos_cap_v2", **NO_CLIP}, DOUBLE),
    ("DDIMScheduler", {**SD, **NO_CLIP, "timestep_spacing": "linspace"}, DOUBLE),
    ("DDIMScheduler", {**SD, **NO_CLIP, "steps_offset": 1, "set_alpha_to_one": False}, DOUBLE),
    ("CogVideoXDDIMScheduler", {**NO_CLIP, **V, **ZERO_SNR}, DOUBLE),
    ("DPMSolverMultistepScheduler", {**SD, "solver_order": 1}, SINGLE),
    ("DPMSolverMultistepScheduler", {**SD, "solver_order": 3}, SINGLE),
    ("DPMSolverMultistepScheduler", {**SD, **V, "solver_type": "heun"}, SINGLE),
    ("DPMSolverMultistepScheduler", {**SD, "final_sigmas_type": "sigma_min"}, SINGLE),
    ("DPMSolverMultistepScheduler", {**SD, "use_karras_sigmas": True}, SINGLE),
    ("DPMSolverMultistepScheduler", {**SD, "use_exponential_sigmas": True}, SINGLE),
    ("DPMSolverMultistepScheduler", {**SD, "use_lu_lambdas": True}, SINGLE),
    ("DPMSolverMultistepScheduler", {**SD, "euler_at_final": True}, SINGLE),
    ("DPMSolverMultistepScheduler", {"beta_schedule": "squaredcos_cap_v2"}, SINGLE),
    ("DPMSolverMultistepScheduler", {**FLOW, "flow_shift": 3.0}, SINGLE),
    ("DPMSolverMultistepScheduler", {**SD, "prediction_type": "sample"}, SINGLE),
    (
        "DPMSolverMultistepScheduler",
        {**SD, **V, "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"},
        SINGLE,
    ),
    ("DPMSolverSinglestepScheduler", {**SD, "solver_order": 3}, DOUBLE),
    ("DPMSolverSinglestepScheduler", {**SD, **V}, DOUBLE),
    ("UniPCMultistepScheduler", {**SD, "solver_order": 3}, DOUBLE),
    ("UniPCMultistepScheduler", {**SD, **V, "use_karras_sigmas": True}, DOUBLE),
    ("UniPCMultistepScheduler", {**FLOW, "flow_shift": 3.0}, DOUBLE),
    (
        "UniPCMultistepScheduler",
        {**SD, "predict_x0": False, "final_sigmas_type": "sigma_min"},
        DOUBLE,
    ),
    ("DEISMultistepScheduler", {**SD, "solver_order": 3}, DOUBLE),
    ("DEISMultistepScheduler", {**SD, **V}, SINGLE),
    ("SASolverScheduler", {**SD, "tau_func": lambda t: 0}, DOUBLE),
    ("LMSDiscreteScheduler", {**V}, SINGLE),
    ("PNDMScheduler", {**SD, "skip_prk_steps": True}, DOUBLE),
    ("PNDMScheduler", {**SD, **V}, DOUBLE),
    ("EulerDiscreteScheduler", {**SD, **V, "use_karras_sigmas": True}, SINGLE),
    ("EulerDiscreteScheduler", {**SD, "timestep_spacing": "leading"}, SINGLE),
    ("EulerDiscreteScheduler", {"beta_schedule": "squaredcos_cap_v2"}, HUGE),
    ("HeunDiscreteScheduler", {**SD, **V}, DOUBLE),
    ("KDPM2DiscreteScheduler", {**SD, **V}, DOUBLE),
    ("EDMEulerScheduler", {**V, "sigma_data": 1.0}, SINGLE),
    ("EDMEulerScheduler", {"final_sigmas_type": "sigma_min"}, SINGLE),
    ("EDMDPMSolverMultistepScheduler", {**V, "solver_order": 3}, SINGLE),
    ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}, SINGLE),
    ("FlowMatchHeunDiscreteScheduler", {"shift": 3.0}, SINGLE),
    ("HeliosScheduler", {"stages": 1, "scheduler_type": "euler"}, SINGLE),
    ("DPMSolverMultistepInverseScheduler", {**SD, **V, "use_karras_sigmas": True}, SINGLE),
    ("UniPCMultistepScheduler", {"use_flow_sigmas": True, "prediction_type": "sample"}, DOUBLE),
    ("EulerDiscreteScheduler", {**SD, **V, "timestep_type": "continuous"}, SINGLE),
    ("FlowMatchEulerDiscreteScheduler", {"invert_sigmas": True}, SINGLE),
]

REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    ("DDIMScheduler", {}, 10, "clip_sample=True"),
    ("DDIMInverseScheduler", {}, 10, "clip_sample=True"),
    ("DDPMScheduler", {}, 10, "clip_sample=True"),
    ("DDIMScheduler", {**NO_CLIP, "thresholding": True}, 10, "thresholding=True"),
    ("DPMSolverMultistepScheduler", {"thresholding": True}, 10, "thresholding=True"),
    ("UniPCMultistepScheduler", {"thresholding": True}, 10, "thresholding=True"),
    ("CMStochasticIterativeScheduler", {"clip_denoised": False}, 10, "stochastic"),
    ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, 10, "stochastic"),
    ("DPMSolverSinglestepScheduler", {"algorithm_type": "sde-dpmsolver++"}, 10, "stochastic"),
    ("EDMDPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, 10, "stochastic"),
    ("FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": True}, 10, "stochastic"),
    ("FlowMatchEulerDiscreteScheduler", {"use_dynamic_shifting": True}, 10, "mu"),
    ("DDIMScheduler", NO_CLIP, 2000, "own loop fails"),
    ("UniPCMultistepScheduler", {**SD, "predict_x0": False}, 10, "not finite"),  # log of sigma 0
    (
        "DPMSolverMultistepScheduler",
        {**SD, "prediction_type": "flow_prediction"},
        10,
        "'flow_prediction' on this schedule",
    ),
]


def exported() -> dict[str, type]:
    """Every scheduler class in the namespace of diffusers."""
    found = {n: getattr(diffusers, n) for n in dir(diffusers) if n.endswith("Scheduler")}
    return {name: cls for name, cls in found.items() if inspect.isclass(cls)}


def build(name: str, arguments: dict[str, Any]) -> Any:
    cls = getattr(diffusers, name)
    if getattr(cls, "_backends", None):  # a dummy that raises ImportError
        pytest.skip(f"{name} needs {NEED_OTHER_PACKAGES[name]}")
    return cls(**arguments)


CASES = [(n, kw, bound) for n, (kw, bound) in EXPECTED.items() if not isinstance(bound, str)]
CASES += VARIANTS


@cache
def read(case: int, steps: int) -> tuple[Any, Solver]:
    """The scheduler of a case, and its table."""
    name, arguments, _ = CASES[case]
    scheduler = build(name, arguments)
    return scheduler, from_scheduler(scheduler, steps)


READ = pytest.mark.parametrize(
    "case", [pytest.param(i, id=f"{case[0][:-9]}-{i}") for i, case in enumerate(CASES)]
)


def network(y: Tensor, t: Tensor) -> Tensor:
    """A small nonlinear network, one image ``[B, 1, 1, 16]``."""
    weight = randn(16, 16, seed=3) / 4
    return torch.tanh(y.double() @ weight + t.double().view(-1, 1, 1, 1) / 1000)


def test_every_exported_class_is_expected() -> None:
    assert set(exported()) == set(EXPECTED)
    dummies = {name for name, cls in exported().items() if getattr(cls, "_backends", None)}
    assert dummies <= set(NEED_OTHER_PACKAGES)


@pytest.mark.parametrize("name", [n for n, (_, out) in EXPECTED.items() if isinstance(out, str)])
def test_refused_with_the_reason(name: str) -> None:
    arguments, reason = EXPECTED[name]
    with pytest.raises(NotInvertible, match=re.escape(str(reason))) as error:
        from_scheduler(build(name, arguments), 10)
    assert name in str(error.value)


@pytest.mark.parametrize(("name", "arguments", "steps", "reason"), REFUSED)
def test_options_are_refused_with_the_reason(
    name: str, arguments: dict[str, Any], steps: int, reason: str
) -> None:
    with pytest.raises(NotInvertible, match=re.escape(reason)):
        from_scheduler(build(name, arguments), steps)


@READ
def test_table_is_the_scheduler_s_own_loop(case: int) -> None:
    bound, y = CASES[case][2], randn(2, 1, 1, 16)
    for steps in (10, 20, 50):
        scheduler, solver = read(case, steps)
        kind = network_prediction(scheduler)
        exact = one_gaussian(solver.schedule, dim=16, prediction=kind)
        for denoiser in (predicting(network, kind), exact):
            scheduler = copy.deepcopy(scheduler)
            scheduler.set_timesteps(steps)
            theirs = diffusers_loop(scheduler, denoiser, y)
            ours = sample(denoiser, y, solver).states
            assert relative(ours, theirs) < bound
        assert solver.t.tolist() == scheduler.timesteps.double().tolist()


@READ
def test_levels_of_the_table(case: int) -> None:
    (name, arguments, _), (scheduler, solver) = CASES[case], read(case, 20)
    inputs = solver.alpha[:-1], solver.sigma[:-1]
    # Network inputs are variance preserving, or on the straight path of flow matching.
    flow = isinstance(solver.schedule, FlowSchedule)
    size = sum(inputs) if flow else inputs[0] ** 2 + inputs[1] ** 2
    torch.testing.assert_close(size, torch.ones_like(size), rtol=0, atol=3e-6)
    # The image has no noise left, or that of the smallest training time.
    data = scheduler.config.get("sigma_data", 1.0)
    if "Inverse" in name:
        assert solver.alpha[-1] < 0.3 and solver.alpha.diff().max() <= 0
    else:
        assert solver.alpha[-1].item() == pytest.approx(data, abs=0.06)
        assert 0 <= solver.sigma[-1] < 0.06 * data and solver.sigma.diff().max() < 1e-7
    # Levels follow the labels, which are rounded to training times or cut off.
    if name != "DDIMInverseScheduler":  # labels each state with the next, noisier time
        angle = torch.atan2(inputs[1], inputs[0])
        label = torch.atan2(solver.schedule.sigma_t(solver.t), solver.schedule.alpha_t(solver.t))
        torch.testing.assert_close(angle, label, rtol=0, atol=0.015)
    # Constant data and noise stay constant, in the table's own coordinates.
    if name == "IPNDMScheduler" or (name == "PNDMScheduler" and solver.prediction != "epsilon"):
        return  # these add up predictions of different times, which is exact only in the limit
    if name == "DDIMScheduler" and arguments.get("timestep_spacing") == "linspace":
        return  # diffusers steps to t - T/N, which is not the next of these times
    constant = torch.eye(2, dtype=torch.float64)
    atol = 10 * max(CASES[case][2], 2e-5)
    y, outputs = solver.alpha[0] * constant[0] + solver.sigma[0] * constant[1], []
    for i in range(solver.steps):
        p, q = parts(solver.prediction, solver.alpha[i], solver.sigma[i])
        outputs.append(p * constant[0] + q * constant[1])
        y = solver.step(i, y, outputs)
        level = torch.stack([solver.alpha[i + 1], solver.sigma[i + 1]])
        torch.testing.assert_close(y, level, rtol=0, atol=atol)


@READ
def test_what_is_read_means_what_it_says(case: int) -> None:
    """Prediction, sign, labels, schedule and levels: a Gaussian's exact denoiser is followed."""
    name, arguments, _ = CASES[case]
    scheduler, solver = read(case, 50)
    denoiser = one_gaussian(solver.schedule, prediction=network_prediction(scheduler))
    states = sample(denoiser, randn(4, 3), solver).states
    exact = gaussian_path(solver.alpha, solver.sigma, states[0])
    slow = name in ("MiniMaxH3Scheduler", "CogVideoXDDIMScheduler")  # steps crowd at the noise
    assert (states - exact).abs().max() < (0.35 if slow else 0.15)


@READ
def test_shape_of_the_table(case: int) -> None:
    name, arguments, _ = CASES[case]
    solver = read(case, 20)[1]
    assert torch.equal(solver.b, solver.b.tril())
    assert solver.steps == len(solver.t) == len(solver.alpha) - 1 >= 19
    assert solver.a.dtype == solver.b.dtype == torch.float64
    first_order = ("DDIM", "Euler", "MiniMaxH3")
    if any(word in name for word in first_order) or arguments.get("solver_order") == 1:
        assert solver.order_one


def closed_forms() -> list[Any]:
    sigma_min = {"final_sigmas_type": "sigma_min"}
    noise = {"algorithm_type": "dpmsolver", **sigma_min}
    return [
        (ddim, {"solver_order": 1}, "epsilon"),
        (ddim, {"solver_order": 1, **sigma_min}, "epsilon"),
        (dpm_solver_pp_2m, {}, "sample"),
        (dpm_solver_pp_2m, sigma_min, "sample"),
        (dpm_solver_pp_2m, V, "sample"),
        (dpm_solver_pp_3m, {"solver_order": 3}, "sample"),
        (dpm_solver_pp_3m, {"solver_order": 3, **sigma_min}, "sample"),
        (lambda g: dpm_solver_pp_2m(g, kind="heun"), {"solver_type": "heun"}, "sample"),
        (dpm_solver_2m, noise, "epsilon"),
        (dpm_solver_2m, {**noise, **V}, "epsilon"),
        (lambda g: dpm_solver_2m(g, kind="heun"), {**noise, "solver_type": "heun"}, "epsilon"),
    ]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing", "karras"])
@pytest.mark.parametrize(("table", "options", "kind"), closed_forms())
def test_probed_table_is_the_closed_form(
    table: Callable[[Grid], Solver], options: dict[str, Any], kind: Prediction, spacing: str
) -> None:
    final = options.get("final_sigmas_type", "zero")
    if spacing == "karras" and final == "sigma_min":
        return  # diffusers repeats the last point, no grid of ours; see test_solvers
    where = {"use_karras_sigmas": True} if spacing == "karras" else {"timestep_spacing": spacing}
    scheduler = diffusers.DPMSolverMultistepScheduler(**SD, **options, **where)
    schedule = Schedule.from_scheduler(scheduler)
    for steps in (10, 20, 50):
        probed = from_scheduler(scheduler, steps)
        grid = schedule.grid(steps, spacing=spacing, final=final, integer_times=True)
        closed = table(grid)
        assert probed.prediction == closed.prediction == kind
        for ours, theirs in zip(
            (closed.a, closed.b, closed.alpha, closed.sigma, closed.t),
            (probed.a, probed.b, probed.alpha, probed.sigma, probed.t),
            strict=True,
        ):
            torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5)
        assert torch.equal(probed.b != 0, closed.b != 0)


def test_probed_and_closed_ddim_are_equal_in_float64() -> None:
    scheduler = diffusers.DDIMScheduler(
        **SD, **NO_CLIP, timestep_spacing="trailing", set_alpha_to_one=False
    )
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.final_alpha_cumprod = scheduler.final_alpha_cumprod.double()
    probed = from_scheduler(scheduler, 20)
    closed = ddim(Schedule.from_scheduler(scheduler).grid(20, spacing="trailing"))
    for a, b in ((closed.a, probed.a), (closed.b, probed.b), (closed.sigma, probed.sigma)):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-13)


def test_the_scheduler_is_not_changed() -> None:
    scheduler = diffusers.UniPCMultistepScheduler(**SD)
    scheduler.set_timesteps(7)
    before = {k: str(v) for k, v in vars(scheduler).items()}
    random = torch.random.get_rng_state()
    from_scheduler(scheduler, 12)
    assert {k: str(v) for k, v in vars(scheduler).items()} == before
    assert torch.equal(torch.random.get_rng_state(), random)


def test_reading_a_scheduler_seeds_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing would put its generator back; that of the CPU is as before."""

    def seeded(seed: int) -> None:
        raise AssertionError("a GPU was seeded")

    for device in (torch.cuda, torch.mps, torch.xpu):
        name = "manual_seed" if device is torch.mps else "manual_seed_all"
        monkeypatch.setattr(device, name, seeded)
    before = torch.get_rng_state()
    from_scheduler(diffusers.DDIMScheduler(clip_sample=False), 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_set_timesteps_may_be_replaced() -> None:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    solver = from_scheduler(
        scheduler, 10, set_timesteps=lambda s, steps: s.set_timesteps(steps, mu=0.8)
    )
    scheduler.set_timesteps(10, mu=0.8)
    torch.testing.assert_close(solver.sigma, scheduler.sigmas.double())


def test_bad_number_of_steps() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        from_scheduler(diffusers.PNDMScheduler(), 0)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("DDIMScheduler", "epsilon"),
        ("EDMEulerScheduler", "edm"),
        ("IPNDMScheduler", "v_prediction"),
        ("FlowMatchEulerDiscreteScheduler", "flow"),
        ("MiniMaxH3Scheduler", "reverse_flow"),
    ],
)
def test_what_networks_predict(name: str, kind: Prediction) -> None:
    assert network_prediction(build(name, {})) == kind


def test_many_steps() -> None:
    scheduler = diffusers.DPMSolverMultistepScheduler(**SD)
    solver = from_scheduler(scheduler, 200)
    closed = dpm_solver_pp_2m(Schedule.from_scheduler(scheduler).grid(200, final="zero"))
    assert torch.equal(solver.b != 0, closed.b != 0)
    y, denoiser = randn(2, 4), mixture(closed.schedule)
    states = sample(denoiser, y, closed).states
    assert relative(sample(denoiser, y, solver).states, states) < 1e-5


class Toy:
    """A scheduler of three steps x -> f(x, output), to try what f may be."""

    def __init__(self, f: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.f, self.config = f, {"num_train_timesteps": 1000}
        self.alphas_cumprod = torch.linspace(0.999, 0.01, 1000)

    def set_timesteps(self, steps: int) -> None:
        self.timesteps = torch.linspace(999, 300, steps).round()

    def step(self, model_output: Tensor, timestep: Tensor, sample: Tensor) -> SimpleNamespace:
        return SimpleNamespace(prev_sample=self.f(sample, model_output))


def test_a_homemade_affine_scheduler_is_read() -> None:
    solver = from_scheduler(Toy(lambda x, m: 1.2 * x - 0.3 * m), 3)
    torch.testing.assert_close(solver.a, torch.full((3,), 1.2).double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(solver.b, -0.3 * torch.eye(3).double(), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(
    ("f", "reason"),
    [
        (lambda x, m: x + torch.randn_like(x), "stochastic"),
        (lambda x, m: (x - m).clamp(-1, 1), "not affine"),
        (lambda x, m: x + m.abs(), "not affine"),  # homogeneous, but not additive
        (lambda x, m: x - m + 0.1, "not affine"),  # a constant of its own
        (lambda x, m: x - m.mean(-1, keepdim=True), "not affine"),  # mixes pixels
        (lambda x, m: x / 0 - m, "not finite"),
        (lambda x, m: x[..., :1], "own loop fails"),
    ],
)
def test_a_homemade_scheduler_is_refused(f: Callable, reason: str) -> None:
    with pytest.raises(NotInvertible, match=reason):
        from_scheduler(Toy(f), 3)


def test_a_scheduler_without_a_known_noise_schedule_is_refused() -> None:
    toy = Toy(lambda x, m: 1.2 * x - 0.3 * m)
    toy.alphas_cumprod = None
    with pytest.raises(NotInvertible, match="Toy: unknown noise schedule"):
        from_scheduler(toy, 3)


@pytest.mark.parametrize("where", ["begin_index", "times"])
def test_a_loop_that_begins_later_has_the_levels_of_its_own_times(where: str) -> None:
    """As pipelines do that start from a picture: by an index, or by the times alone."""
    scheduler = diffusers.EulerDiscreteScheduler(**SD)
    scheduler.set_timesteps(10)
    times, sigmas = scheduler.timesteps, scheduler.sigmas.double()

    def set_timesteps(scheduler: Any, steps: int) -> None:
        scheduler.set_timesteps(steps)
        if where == "begin_index":
            scheduler.set_begin_index(4)

    solver = from_scheduler(scheduler, 10, set_timesteps=set_timesteps, loop=Loop(times=times[4:]))
    assert solver.t.tolist() == times[4:].tolist() and solver.steps == 6
    ratio = solver.sigma[:-1] / solver.alpha[:-1]
    torch.testing.assert_close(ratio, sigmas[4:-1], rtol=1e-6, atol=0)
    assert solver.sigma[-1] == 0


def test_a_scheduler_that_comes_back_to_an_old_state_is_refused() -> None:
    class Restarting(Toy):
        def step(self, model_output: Tensor, timestep: Tensor, sample: Tensor) -> SimpleNamespace:
            self.first = getattr(self, "first", sample)
            new = 0 * sample if timestep == 999 else self.first + model_output
            return SimpleNamespace(prev_sample=new)

    with pytest.raises(NotInvertible, match="does not depend on the noise"):
        from_scheduler(Restarting(lambda x, m: x), 3)


def test_solver_of_other_predictions_is_the_same_sampler() -> None:
    """A table in data prediction takes a network that predicts the noise, and so on."""
    for name, arguments in (("DDIMScheduler", {**SD, **NO_CLIP, **V}), ("EDMEulerScheduler", {})):
        solver = from_scheduler(build(name, arguments), 15)
        noise, y = mixture(solver.schedule), randn(2, 4)
        expected = sample(noise, y, solver).states
        for kind in ("sample", "v_prediction", "edm", "flow", "reverse_flow"):
            other = replace(noise, prediction=kind)
            states = sample(other, y, solver).states
            torch.testing.assert_close(states, expected, rtol=1e-5, atol=1e-5)


def test_how_a_loop_drives_its_scheduler_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Loop().scaled = False  # type: ignore[misc]


def test_a_loop_at_times_of_its_own_begins_with_the_first_level() -> None:
    scheduler = SimpleNamespace(timesteps=torch.tensor([9.0, 6.0, 3.0]))
    for times, first in (([6.0, 3.0], 1), ([9.0, 3.0], 0), ([8.5, 3.0], 0)):
        assert _first(scheduler, torch.tensor(times)) == first
    scheduler.begin_index = 2
    assert _first(scheduler, torch.tensor([6.0])) == 2
