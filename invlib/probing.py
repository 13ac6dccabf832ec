r"""Read any deterministic diffusers scheduler as a table, by running its own loop.

A deterministic scheduler multiplies and adds whole tensors with scalars, so every network input
is :math:`y_i = A_i y_0 + \sum_{j<i} B_{ij} m_j`. Run once on a one-pixel-per-basis "image"
(pixel k is 1 where basis k is meant), the loop writes row i of (A, B) into :math:`y_i`.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .denoisers import Prediction, convert, parts
from .schedule import AngleSchedule, FlowSchedule, Levels, Schedule
from .solvers import Solver

Respond = Callable[[int, Tensor], Tensor]


class NotInvertible(ValueError):  # noqa: N818 - it names the fact, not a failure
    """The scheduler is no deterministic affine recursion; the message says why."""


def from_scheduler(
    scheduler: Any, steps: int, *, set_timesteps: Callable[[Any, int], None] | None = None
) -> Solver:
    r"""Read a diffusers scheduler as a :class:`~invlib.solvers.Solver`.

    .. math:: y_i = A_i\,y_0 + \sum_{j<i} B_{ij}\,m_j
              \;\Longleftrightarrow\; y_{i+1} = a_i y_i + \sum_{j \le i} b_{ij} m_j

    Args:
        scheduler: any diffusers scheduler; it is copied, never changed.
        steps: number of inference steps, as for ``scheduler.set_timesteps``.
        set_timesteps: replaces ``scheduler.set_timesteps(steps)``, for example to pass ``mu``.

    Returns:
        The table, in the basis (noise, data, v or flow prediction) in which it is sparsest.

    Raises:
        NotInvertible: if a step is stochastic, clips, thresholds, is not affine in states and
            outputs, needs further arguments, or follows an unknown noise schedule.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    name = type(scheduler).__name__
    _check_interface(scheduler)
    scheduler = copy.deepcopy(scheduler)
    try:
        (set_timesteps or type(scheduler).set_timesteps)(scheduler, steps)
        scale = _check_affine(scheduler)
    except NotInvertible:
        raise
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        reason = f"{name}: its own loop fails with these arguments, it may need others ({problem})"
        raise NotInvertible(reason) from error

    native, schedule = _kind(scheduler)
    alpha, sigma = _levels(scheduler, schedule)
    base: Prediction = native
    if native in ("edm", "reverse_flow"):
        base = "v_prediction" if native == "edm" else "flow"
    tables = []
    for kind in dict.fromkeys((base, "sample", "epsilon")):
        p, q = parts(kind, alpha[:-1], sigma[:-1])
        if kind == native or (alpha[:-1] * q - sigma[:-1] * p).abs().min() > 1e-3:
            rows = _rows(scheduler, _feed(native, kind, alpha, sigma))
            tables.append((kind, *_recursion(torch.cat([rows[:, :1] / scale, rows[:, 1:]], 1))))
    tables = [table for table in tables if (table[1].abs() < 1e6).all()]
    if not tables:
        raise NotInvertible(f"{name}: a state on the way does not depend on the noise")
    kind, a, b = min(tables, key=lambda table: int((table[2] != 0).sum()))
    t = torch.as_tensor(scheduler.timesteps).double()
    return Solver(f"{name}-{steps}", a, b, t, alpha, sigma, kind, schedule, scale)


def network_prediction(scheduler: Any) -> Prediction:
    """What the networks made for this scheduler predict; give it to ``predicting``.

    Raises:
        NotInvertible: if the scheduler's noise schedule is unknown.
    """
    return _kind(scheduler)[0]


def _check_interface(scheduler: Any) -> None:
    """Refuse what has no ``step(output, time, state)`` or says itself that it is not affine."""
    name, config = type(scheduler).__name__, scheduler.config
    if not hasattr(scheduler, "step"):
        raise NotInvertible(f"{name} has no method step(output, time, state)")
    arguments = inspect.signature(scheduler.step).parameters.values()
    if any("LongTensor" in str(a.annotation) for a in arguments):
        raise NotInvertible(f"{name} works on discrete tokens, not on real numbers")
    needed = {a.name for a in arguments if a.default is a.empty and a.kind is not a.VAR_KEYWORD}
    if extra := needed - {"model_output", "timestep", "sample"}:
        raise NotInvertible(f"{name} needs arguments in step: {', '.join(sorted(extra))}")
    for option in ("thresholding", "clip_sample", "clip_denoised"):
        if config.get(option, False):
            raise NotInvertible(f"{name}: {option}=True is not affine; set {option}=False")


def _check_affine(scheduler: Any) -> float:
    """Run the loop on basis inputs with two seeds, then on random inputs; return y_0 / noise."""
    name = type(scheduler).__name__
    rows = _rows(scheduler, lambda inputs: lambda i, y: inputs[i + 1])
    if not torch.isfinite(rows).all():
        raise NotInvertible(f"{name}: its coefficients are not finite")
    if not torch.equal(rows, _rows(scheduler, lambda inputs: lambda i, y: inputs[i + 1], seed=1)):
        raise NotInvertible(f"{name} adds fresh noise in its steps: stochastic, so not invertible")
    generator = torch.Generator().manual_seed(0)
    inputs = 64 * torch.randn(rows.shape[1], 16, dtype=torch.float64, generator=generator)
    states = _run(scheduler, inputs[0], lambda i, y: inputs[i + 1])
    if ((states - rows @ inputs).abs() > 1e-4 * (rows.abs() @ inputs.abs()) + 1e-4).any():
        raise NotInvertible(f"{name}: the step is not affine in past states and outputs")
    return rows[0, 0].item()


def _run(scheduler: Any, noise: Tensor, respond: Respond, *, seed: int = 0) -> Tensor:
    """Network inputs y_0 ... y_{n-1} and the image, ``[n+1, K]``, of the scheduler's own loop.

    Args:
        scheduler: a scheduler with its time steps set.
        noise: starting noise, ``[K]``.
        respond: the network, ``(i, y_i) -> output``.
        seed: seed of whatever the scheduler draws.
    """
    scheduler = copy.deepcopy(scheduler)
    scale = getattr(scheduler, "scale_model_input", lambda x, time: x)
    x = noise * float(getattr(scheduler, "init_noise_sigma", 1.0))
    states = []
    options: dict[str, Any] = {}
    if "generator" in inspect.signature(scheduler.step).parameters:
        options["generator"] = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for i, time in enumerate(scheduler.timesteps):
            states.append(scale(x.view(1, 1, 1, -1), time).flatten())
            output = respond(i, states[-1]).view(1, 1, 1, -1)
            x = scheduler.step(output, time, x.view(1, 1, 1, -1), **options).prev_sample.flatten()
    return torch.stack([*states, x]).double()


def _rows(scheduler: Any, feed: Callable[[Tensor], Respond], *, seed: int = 0) -> Tensor:
    """Rows ``[n+1, n+1]`` of (A, B) for y_0 ... y_n."""
    basis = torch.eye(len(scheduler.timesteps) + 1, dtype=torch.float64)
    return _run(scheduler, basis[0], feed(basis), seed=seed)


def _feed(
    native: Prediction, kind: Prediction, alpha: Tensor, sigma: Tensor
) -> Callable[[Tensor], Respond]:
    """Networks that return inputs[i + 1] as a prediction of ``kind`` in the native one."""

    def feed(inputs: Tensor) -> Respond:
        def respond(i: int, y: Tensor) -> Tensor:
            levels = alpha[i].expand(len(y)), sigma[i].expand(len(y))
            return convert(inputs[i + 1], y, *levels, kind, native)

        return respond

    return feed


def _kind(scheduler: Any) -> tuple[Prediction, Levels]:
    """What the scheduler expects of the network, and its schedule."""
    name, config = type(scheduler).__name__, scheduler.config
    times = config.get("num_train_timesteps", 1000)
    prediction = config.get("prediction_type", "epsilon")
    flow = config.get("use_flow_sigmas", False)
    if name == "MiniMaxH3Scheduler":
        return "reverse_flow", FlowSchedule(1, image=1.0)
    if name == "IPNDMScheduler":
        return "v_prediction", AngleSchedule(lambda t: t * math.pi / 2, times)
    if name.startswith("Flow") or (flow and prediction == "flow_prediction"):
        return "flow", FlowSchedule(times)
    if prediction not in ("epsilon", "sample", "v_prediction"):
        raise NotInvertible(f"{name}: prediction type {prediction!r} on this schedule is unknown")
    if flow:
        return prediction, FlowSchedule(times)
    if "sigma_data" in config:
        data = config["sigma_data"]
        kind: Prediction = "v_prediction" if prediction == "v_prediction" else "edm"
        return kind, AngleSchedule(lambda t: torch.atan(torch.exp(4 * t) / data), times)
    if getattr(scheduler, "alphas_cumprod", None) is None:
        raise NotInvertible(f"{name}: unknown noise schedule (it has no alphas_cumprod)")
    return prediction, Schedule.from_scheduler(scheduler)


def _levels(scheduler: Any, schedule: Levels) -> tuple[Tensor, Tensor]:
    """Signal and noise level of every state, in the scheduler's own precision."""
    sigmas, abar = (getattr(scheduler, name, None) for name in ("sigmas", "alphas_cumprod"))
    if sigmas is not None:  # sigma / alpha, but for flow matching sigma
        sigmas = torch.as_tensor(sigmas)[: len(scheduler.timesteps) + 1].clone()
        if hasattr(scheduler, "sigmas_interpol"):  # KDPM2Discrete: every other call is half-way
            sigmas[1::2] = scheduler.sigmas_interpol[: len(sigmas)][1::2]
        if isinstance(schedule, FlowSchedule):
            return (1 - sigmas).double(), sigmas.double()
        data = scheduler.config.get("sigma_data", 1.0)
        alpha = data / (sigmas**2 + data**2) ** 0.5
        sigma = sigmas / data * alpha
        if getattr(scheduler, "init_noise_sigma", 1.0) != 1:  # the image is not scaled
            alpha[-1], sigma[-1] = data, sigmas[-1]
        return alpha.double(), sigma.double()
    if abar is None:
        t = torch.cat([scheduler.timesteps, torch.zeros(1)])
        return schedule.alpha_t(t), schedule.sigma_t(t)
    # DDIM and PNDM step from t to t - T/N; DDIMInverse steps back and starts at the image.
    t = scheduler.timesteps.long()
    gap = schedule.times // getattr(scheduler, "num_inference_steps", len(t))
    if hasattr(scheduler, "initial_alpha_cumprod"):
        t, image = torch.cat([t - gap, t[-1:]]), scheduler.initial_alpha_cumprod
    else:
        t, image = torch.cat([t, t[-1:] - gap]), getattr(scheduler, "final_alpha_cumprod", 1.0)
    abar = torch.where(t < 0, image, abar[t.clamp(min=0)])
    return (abar**0.5).double(), ((1 - abar) ** 0.5).double()


def _recursion(rows: Tensor) -> tuple[Tensor, Tensor]:
    """One-step weights (a, b) of unrolled rows; float32 dust off the band is dropped."""
    first, later = rows[:-1], rows[1:]
    usable = later[:, 0].abs() > 4e-7 * later.abs().amax(1)
    a = torch.where(usable, later[:, 0] / first[:, 0], 0.0)
    moved = a[:, None] * first[:, 1:]
    b = later[:, 1:] - moved
    dust = 1e-6 * torch.maximum(later[:, 1:].abs() + moved.abs(), b.abs().amax(1, keepdim=True))
    return a, torch.where(b.abs() > dust, b, 0.0)
