r"""Read any deterministic diffusers scheduler as a table, by running its own loop.

A deterministic scheduler multiplies and adds whole tensors with scalars, so every network input
is :math:`y_i = A_i y_0 + \sum_{j<i} B_{ij} m_j`. Run once on a one-pixel-per-basis "image"
(pixel k is 1 where basis k is meant), the loop writes row i of (A, B) into :math:`y_i`.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .denoisers import Prediction, convert, parts
from .schedule import AngleSchedule, FlowSchedule, Levels, Schedule
from .solvers import Solver

Respond = Callable[[int, Tensor], Tensor]


class NotInvertible(ValueError):  # noqa: N818 - it names the fact, not a failure
    """The scheduler is no deterministic affine recursion; the message says why."""


@dataclass(frozen=True)
class Loop:
    """How a pipeline drives its scheduler, where that is not the usual loop over all time steps.

    Attributes:
        times: the time labels that it gives to ``step``; by default all of the scheduler's.
        options: further arguments of ``step``, for example ``eta``.
        scaled: whether it passes its states through ``scale_model_input``.
    """

    times: Tensor | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    scaled: bool = True

    def labels(self, scheduler: Any) -> Tensor:
        """The time labels, ``[n]``."""
        times = scheduler.timesteps if self.times is None else self.times
        return torch.as_tensor(times).cpu()


def from_scheduler(
    scheduler: Any,
    steps: int,
    *,
    set_timesteps: Callable[[Any, int], None] | None = None,
    loop: Loop | None = None,
) -> Solver:
    r"""Read a diffusers scheduler as a :class:`~invlib.solvers.Solver`.

    .. math:: y_i = A_i\,y_0 + \sum_{j<i} B_{ij}\,m_j
              \;\Longleftrightarrow\; y_{i+1} = a_i y_i + \sum_{j \le i} b_{ij} m_j

    Args:
        scheduler: any diffusers scheduler; it is copied, never changed.
        steps: number of inference steps, as for ``scheduler.set_timesteps``.
        set_timesteps: replaces ``scheduler.set_timesteps(steps)``, for example to pass ``mu``.
        loop: how the scheduler is driven; the usual loop by default.

    Returns:
        The table, in the basis (noise, data, v or flow prediction) in which it is sparsest.

    Raises:
        NotInvertible: if a step is stochastic, clips, thresholds, is not affine in states and
            outputs, needs further arguments, or follows an unknown noise schedule.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    name = type(scheduler).__name__
    loop = Loop() if loop is None else loop
    _check_interface(scheduler, loop)
    scheduler = copy.deepcopy(scheduler)
    try:
        (set_timesteps or type(scheduler).set_timesteps)(scheduler, steps)
        scale = _check_affine(scheduler, loop)
    except NotInvertible:
        raise
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        reason = f"{name}: its own loop fails with these arguments, it may need others ({problem})"
        raise NotInvertible(reason) from error

    native, schedule = _kind(scheduler)
    alpha, sigma = _levels(scheduler, schedule, loop)
    base: Prediction = native
    if native in ("edm", "reverse_flow"):
        base = "v_prediction" if native == "edm" else "flow"
    tables = []
    for kind in dict.fromkeys((base, "sample", "epsilon")):
        p, q = parts(kind, alpha[:-1], sigma[:-1])
        if kind == native or (alpha[:-1] * q - sigma[:-1] * p).abs().min() > 1e-3:
            rows = _rows(scheduler, loop, _feed(native, kind, alpha, sigma))
            tables.append((kind, *_recursion(torch.cat([rows[:, :1] / scale, rows[:, 1:]], 1))))
    tables = [table for table in tables if (table[1].abs() < 1e6).all()]
    if not tables:
        raise NotInvertible(f"{name}: a state on the way does not depend on the noise")
    kind, a, b = min(tables, key=lambda table: int((table[2] != 0).sum()))
    t = loop.labels(scheduler).double()
    return Solver(f"{name}-{steps}", a, b, t, alpha, sigma, kind, schedule, scale)


def check_steps(scheduler: Any, loop: Loop) -> None:
    """Refuse a scheduler whose steps are random or not affine; its time steps are set.

    Raises:
        NotInvertible: with the reason.
    """
    _check_interface(scheduler, loop)
    try:
        _check_affine(scheduler, loop)
    except NotInvertible:
        raise
    except Exception:  # a loop of other steps: what it is the whole loop will tell
        return


def network_prediction(scheduler: Any) -> Prediction:
    """What the networks made for this scheduler predict; give it to ``predicting``.

    Raises:
        NotInvertible: if the scheduler's noise schedule is unknown.
    """
    return _kind(scheduler)[0]


def input_scales(scheduler: Any, loop: Loop) -> Tensor:
    """Factors by which the states of a loop are multiplied before the network, and 1, ``[n+1]``."""
    one = torch.ones(1, dtype=torch.float64)
    inputs, states = (_run(scheduler, one, lambda i, y: 0 * y, loop, raw=r) for r in (False, True))
    return torch.cat([(inputs / states)[:-1, 0], one])


def _check_interface(scheduler: Any, loop: Loop) -> None:
    """Refuse what has no ``step(output, time, state)`` or says itself that it is not affine."""
    name, config = type(scheduler).__name__, scheduler.config
    if not hasattr(scheduler, "step"):
        raise NotInvertible(f"{name} has no method step(output, time, state)")
    arguments = inspect.signature(scheduler.step).parameters.values()
    if any("LongTensor" in str(a.annotation) for a in arguments):
        raise NotInvertible(f"{name} works on discrete tokens, not on real numbers")
    rest = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = {a.name for a in arguments if a.default is a.empty and a.kind not in rest}
    if extra := needed - {"model_output", "timestep", "sample", *loop.options}:
        raise NotInvertible(f"{name} needs arguments in step: {', '.join(sorted(extra))}")
    for option in ("thresholding", "clip_sample", "clip_denoised"):
        if config.get(option, False):
            raise NotInvertible(f"{name}: {option}=True is not affine; set {option}=False")


def _check_affine(scheduler: Any, loop: Loop) -> float:
    """Run the loop on basis inputs with two seeds, then on random inputs; return y_0 / noise."""
    name = type(scheduler).__name__
    rows = _rows(scheduler, loop, lambda inputs: lambda i, y: inputs[i + 1])
    if not torch.isfinite(rows).all():
        raise NotInvertible(f"{name}: its coefficients are not finite")
    again = _rows(scheduler, loop, lambda inputs: lambda i, y: inputs[i + 1], seed=1)
    if not torch.equal(rows, again):
        raise NotInvertible(f"{name} adds fresh noise in its steps: stochastic, so not invertible")
    generator = torch.Generator().manual_seed(0)
    inputs = 64 * torch.randn(rows.shape[1], 16, dtype=torch.float64, generator=generator)
    states = _run(scheduler, inputs[0], lambda i, y: inputs[i + 1], loop)
    if ((states - rows @ inputs).abs() > 1e-4 * (rows.abs() @ inputs.abs()) + 1e-4).any():
        raise NotInvertible(f"{name}: the step is not affine in past states and outputs")
    return rows[0, 0].item()


def _run(
    scheduler: Any,
    noise: Tensor,
    respond: Respond,
    loop: Loop,
    *,
    seed: int = 0,
    raw: bool = False,
) -> Tensor:
    """Network inputs y_0 ... y_{n-1} and the image, ``[n+1, K]``, of the scheduler's own loop.

    Args:
        scheduler: a scheduler with its time steps set.
        noise: starting noise, ``[K]``.
        respond: the network, ``(i, y_i) -> output``.
        loop: how the scheduler is driven.
        seed: seed of whatever the scheduler draws.
        raw: return the states as they are before they are scaled for the network.
    """
    scheduler = copy.deepcopy(scheduler)
    own = getattr(scheduler, "scale_model_input", None)
    scale = own if own is not None and loop.scaled else lambda x, time: x
    x = noise * float(getattr(scheduler, "init_noise_sigma", 1.0))
    states = []
    options = dict(loop.options)
    if "generator" in inspect.signature(scheduler.step).parameters:
        options["generator"] = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # and those of no GPU, which nothing puts back
        for i, time in enumerate(loop.labels(scheduler)):
            y = scale(x.view(1, 1, 1, -1), time).flatten()
            states.append(x if raw else y)
            output = respond(i, y).view(1, 1, 1, -1)
            x = scheduler.step(output, time, x.view(1, 1, 1, -1), **options).prev_sample.flatten()
    return torch.stack([*states, x]).double()


def _rows(
    scheduler: Any, loop: Loop, feed: Callable[[Tensor], Respond], *, seed: int = 0
) -> Tensor:
    """Rows ``[n+1, n+1]`` of (A, B) for y_0 ... y_n."""
    basis = torch.eye(len(loop.labels(scheduler)) + 1, dtype=torch.float64)
    return _run(scheduler, basis[0], feed(basis), loop, seed=seed)


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
    if config.get("invert_sigmas", False):  # from noise at sigma 0 to the image at sigma 1
        return "reverse_flow", FlowSchedule(times, image=float(times))
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
    if config.get("timestep_type") == "continuous":  # the label is log(sigma / alpha) / 4
        return prediction, AngleSchedule(lambda t: torch.atan(torch.exp(4 * t)), times)
    if getattr(scheduler, "alphas_cumprod", None) is None:
        raise NotInvertible(f"{name}: unknown noise schedule (it has no alphas_cumprod)")
    return prediction, Schedule.from_scheduler(scheduler)


def _levels(scheduler: Any, schedule: Levels, loop: Loop) -> tuple[Tensor, Tensor]:
    """Signal and noise level of every state, in the scheduler's own precision."""
    sigmas, abar = (getattr(scheduler, name, None) for name in ("sigmas", "alphas_cumprod"))
    times = loop.labels(scheduler)
    if sigmas is not None:  # sigma / alpha, but for flow matching sigma
        sigmas = torch.as_tensor(sigmas).cpu().clone()
        if hasattr(scheduler, "sigmas_interpol"):  # KDPM2Discrete: every other call is half-way
            sigmas[1::2] = scheduler.sigmas_interpol[: len(sigmas)][1::2]
        first = _first(scheduler, times)
        sigmas = sigmas[first : first + len(times) + 1]
        if isinstance(schedule, FlowSchedule):
            if scheduler.config.get("invert_sigmas", False):
                sigmas = 1 - sigmas
            return (1 - sigmas).double(), sigmas.double()
        data = scheduler.config.get("sigma_data", 1.0)
        alpha = data / (sigmas**2 + data**2) ** 0.5
        sigma = sigmas / data * alpha
        if getattr(scheduler, "init_noise_sigma", 1.0) != 1:  # the image is not scaled
            alpha[-1], sigma[-1] = data, sigmas[-1]
        return alpha.double(), sigma.double()
    if abar is None:
        t = torch.cat([times, torch.zeros(1)])
        return schedule.alpha_t(t), schedule.sigma_t(t)
    # DDIM and PNDM step from t to t - T/N; DDIMInverse steps back and starts at the image.
    t = times.long()
    gap = schedule.times // getattr(scheduler, "num_inference_steps", len(t))
    if hasattr(scheduler, "initial_alpha_cumprod"):
        t, image = torch.cat([t - gap, t[-1:]]), scheduler.initial_alpha_cumprod
    else:
        t, image = torch.cat([t, t[-1:] - gap]), getattr(scheduler, "final_alpha_cumprod", 1.0)
    abar = torch.where(t < 0, image, abar.cpu()[t.clamp(min=0)])
    return (abar**0.5).double(), ((1 - abar) ** 0.5).double()


def _first(scheduler: Any, times: Tensor) -> int:
    """The place of a loop's first time among the scheduler's own."""
    begin = getattr(scheduler, "begin_index", None)
    if begin is not None:
        return int(begin)
    same = (torch.as_tensor(scheduler.timesteps).cpu() == times[0]).nonzero().flatten()
    return int(same[0]) if len(same) else 0


def _recursion(rows: Tensor) -> tuple[Tensor, Tensor]:
    """One-step weights (a, b) of unrolled rows; float32 dust off the band is dropped."""
    first, later = rows[:-1], rows[1:]
    usable = later[:, 0].abs() > 4e-7 * later.abs().amax(1)
    a = torch.where(usable, later[:, 0] / first[:, 0], 0.0)
    moved = a[:, None] * first[:, 1:]
    b = later[:, 1:] - moved
    dust = 1e-6 * torch.maximum(later[:, 1:].abs() + moved.abs(), b.abs().amax(1, keepdim=True))
    return a, torch.where(b.abs() > dust, b, 0.0)
