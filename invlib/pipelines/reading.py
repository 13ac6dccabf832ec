"""Reading a pipeline by running it: table, network and entrance of one call."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..affine import ElementwiseMap
from ..denoisers import convert
from ..devices import lifted
from ..memory import is_full
from ..precision import CHANGES, CURVED, limiting, second_difference
from ..probing import NotInvertible, from_scheduler, input_scales, network_prediction
from ..solvers import Solver
from .entrance import Entrance, entrances, identity, read_map
from .network import Mode, PipelineNetwork
from .recording import OutsideLoop, Recording, advised, record, relative_gap, training
from .replay import NotReplayable, Replay, read_replay
from .stage import Stage

MISFITS = (  # errors of code that is given fewer steps than it expects
    *(RuntimeError, TypeError, ValueError, LookupError, AttributeError),
    *(AssertionError, ArithmeticError, NameError),
)
COARSE = 0.05  # a change of a state that the network has to notice
FINEST = 1e-7  # of the larger changes at which a part that rounds to float32 shows
SEED = 20240601  # of the stock run that is recorded


@dataclass(frozen=True)
class Reading:
    """All that an inversion has to know of ``pipe(**call)``.

    Attributes:
        stage: the pipeline and its call, to be run again.
        solver: the table of its loop.
        network: the guided network.
        exit: how the last state becomes what the call returns for ``output_type="latent"``.
        gap: largest relative gap between a recorded state and the table: the round-off of the
            pipeline's own steps.
        evaluations: network evaluations that the reading cost.
        notes: what the reading saw and a user should know.
    """

    stage: Stage
    solver: Solver
    network: PipelineNetwork
    exit: ElementwiseMap
    gap: float
    evaluations: int
    notes: tuple[str, ...]

    @property
    def entrance(self) -> Entrance:
        """How noise gets in."""
        return self.stage.entrance

    @property
    def samples(self) -> int:
        """Number of samples of one call."""
        return 1 if self.network.joint else len(self.stage.recording.states[0])

    @property
    def begins_late(self) -> bool:
        """Whether the call's first state lies between a picture and noise, as at a low strength.

        Then what the call takes as ``latents`` is that state, and no noise.
        """
        entrance, recording = self.entrance, self.stage.recording
        if entrance.kind == "draw" or entrance.map.shift.any():
            return False  # the pipeline mixes what it takes with the picture itself
        earliest = torch.as_tensor(recording.scheduler.timesteps)[0]
        return recording.loop.labels(recording.scheduler)[0].item() != earliest.item()

    @property
    def takes_noise(self) -> bool:
        """Whether a noise gets in, and no state of unknown law, as one that is half a picture."""
        return self.entrance.kind != "first step" and not self.begins_late

    @property
    def only_scales(self) -> bool:
        """Whether the search's noise is the call's noise, so that it has the law N(0, I)."""
        map_ = self.entrance.map
        same = not map_.shift.any() and bool((map_.scale == map_.scale[0]).all())
        return same and self.takes_noise

    def target(self, latents: Tensor) -> Tensor:
        """The last states ``[samples, ...]`` of what the call returned.

        Raises:
            ValueError: if the shape is not what the call returns.
        """
        if tuple(latents.shape) != self.exit.out_shape:
            raise ValueError(
                f"these latents have shape {tuple(latents.shape)}, but the call returns "
                f"{self.exit.out_shape} for output_type='latent': give the size and the number "
                "of images as in the call that made them"
            )
        return self.as_samples(self.exit.inverse(latents))

    def as_samples(self, state: Tensor) -> Tensor:
        """The pipeline's batch as samples."""
        return state[None] if self.network.joint else state

    def in_batches(self, most: int) -> Reading:
        """The same with up to ``most`` states in one call of a network that is called directly."""
        replay = self.network.replay
        if replay is None:
            return self
        return replace(self, network=replace(self.network, replay=replay.at_most(most)))

    def noise(self, first: Tensor) -> Tensor:
        """The pipeline's noise of first network inputs ``[samples, ...]``, float64."""
        state = first[0] if self.network.joint else first
        return self.entrance.noise(state / self.stage.scales[0].item())


def read(pipe: Any, call: Mapping[str, Any], *, numbers: int | None = None) -> Reading:
    """Read a pipeline's call as a table and a network, by running it.

    One stock run from random noise is recorded; another one only where the pipeline refuses to
    return latents. Its states must satisfy the table to round-off, and the network must give the
    same outputs at the recorded states once more, in the way in which the inversion will call it.

    Args:
        pipe: the pipeline.
        call: the arguments of its call.
        numbers: how many numbers the state must have; None for any.

    Raises:
        NotInvertible: if the call is no deterministic affine loop over its scheduler; says why.
        recording.WrongSize: if the state has another size.
    """
    with torch.no_grad():
        asked, recording, cost = _recorded(pipe, call, numbers)
        solver = table(recording)
        stage = Stage(pipe, call, recording)
        gap = check_states(stage, solver)
        network, spent = _enter(stage, asked, solver)
        exit_ = _exit(stage, latents=asked.get("output_type") == "latent")
    if stage.entrance.kind != "first step":
        scale = stage.entrance.map.scale
        factor = scale[0].item() if (scale == scale[0]).all() else 1.0
        solver = replace(solver, scale=factor * stage.scales[0].item())
    reading = Reading(stage, solver, network, exit_, gap, cost + spent, ())
    return replace(reading, notes=_notes(reading))


def _recorded(
    pipe: Any, call: Mapping[str, Any], numbers: int | None
) -> tuple[dict[str, Any], Recording, int]:
    """A stock run, its arguments (the call, returning latents if it can), and what it all cost.

    A kind of output is refused where a pipeline checks its call (Marigold) or where it makes its
    result (Kandinsky). What fails between two steps fails with any kind of output, so that a
    second run would only cost as many evaluations again.
    """
    takes = inspect.signature(type(pipe).__call__).parameters
    lost = 0
    if "output_type" in takes:
        asked = {**call, "output_type": "latent"}
        try:
            recording = record(pipe, asked, seed=SEED, numbers=numbers)
            return asked, recording, recording.steps
        except OutsideLoop as refused:
            lost = refused.steps
    recording = record(pipe, call, seed=SEED, numbers=numbers)
    return dict(call), recording, lost + recording.steps


def table(recording: Recording) -> Solver:
    """The table of a recorded loop.

    Raises:
        NotInvertible: if there is none.
    """
    scheduler, loop = recording.scheduler, recording.loop
    with advised(scheduler, loop.options):
        return from_scheduler(
            scheduler, recording.steps, set_timesteps=lambda scheduler, steps: None, loop=loop
        )


def check_states(stage: Stage, solver: Solver) -> float:
    """Refuse a recorded run whose states do not satisfy the table; return the largest gap.

    Raises:
        NotInvertible: with the step and the size of the gap.
    """
    recording = stage.recording
    prediction = network_prediction(recording.scheduler)
    scales = input_scales(recording.scheduler, recording.loop)
    stage.scales = scales
    y = [s.item() * lifted(x) for s, x in zip(scales, recording.states, strict=True)]
    stage.inputs = y[:-1]
    outputs, largest = [], 0.0
    limit = tolerance(stage)
    for i, m in enumerate(recording.outputs):
        alpha, sigma = (v[i].to(y[i]).expand(len(y[i])) for v in (solver.alpha, solver.sigma))
        m = lifted(m)
        if m.shape != y[i].shape:
            raise NotInvertible(
                f"{type(stage.pipe).__name__} gives its scheduler outputs {tuple(m.shape)} for "
                f"states {tuple(y[i].shape)}: networks that predict variances, too, are not "
                "supported with this scheduler"
            )
        outputs.append(convert(m, y[i], alpha, sigma, prediction, solver.prediction))
        largest = max(largest, gap := relative_gap(solver.step(i, y[i], outputs), y[i + 1]))
        if not gap <= limit:
            dtype = recording.states[i].dtype
            rounded = f", or {dtype} is too coarse for it" if limit > 1e-3 else ""
            raise NotInvertible(
                f"{type(stage.pipe).__name__} with {type(recording.scheduler).__name__}: step "
                f"{i + 1} of {recording.steps} is not the scheduler's (it is off by {gap:.1e} of "
                f"the state): something else changes the state, or it is clipped{rounded}"
            )
    return largest


def tolerance(stage: Stage) -> float:
    """The relative gap that round-off explains, by the coarsest dtype in the loop."""
    eps = max(torch.finfo(v.dtype).eps for v in (*stage.recording.outputs, *stage.recording.states))
    return 1e-4 if eps < 1e-5 else 16 * eps


def _enter(stage: Stage, call: Mapping[str, Any], solver: Solver) -> tuple[PipelineNetwork, int]:
    """The first way in by which the network gives the recorded outputs again; what it cost.

    Raises:
        NotInvertible: if there is none, with what the first way gave.
    """
    first: NotInvertible | None = None
    spent = 0
    for entrance in entrances(stage.pipe, call, stage.recording, stage.stand_in):
        stage.entrance = entrance
        try:
            network, cost = _network(stage, solver)
        except NotInvertible as error:
            first = error if first is None else first
            spent += solver.steps
            continue
        return network, spent + cost
    assert first is not None
    raise first


def _exit(stage: Stage, *, latents: bool) -> ElementwiseMap:
    """How the last state becomes what is returned as latents, if these were asked for.

    Raises:
        NotInvertible: if what is returned as latents is no elementwise map of the last state.
    """
    recording = stage.recording
    last, result = recording.states[-1], recording.result
    own = identity(tuple(last.shape))
    stage.returns_latents = latents and result is not None and result.numel() == last.numel()
    if result is None or not stage.returns_latents:
        return own
    if result.shape == last.shape and torch.equal(lifted(result), lifted(last)):
        return own

    def finish(x: Tensor) -> Tensor:
        return stage.result(stage.finish(x, more={"output_type": "latent"}))

    refusal = (
        f"{type(stage.pipe).__name__} changes its latents after the last step (a callback?) by "
        "more than a factor and a shift of each number: leave that out of the call, and invert "
        "the latents as they are before it"
    )
    try:
        found = read_map(finish, tuple(last.shape), dtype=last.dtype, device=last.device)
    except (ValueError, RuntimeError, TypeError) as error:
        raise NotInvertible(refusal) from error
    if not found.one_to_one or relative_gap(found(last), result) > tolerance(stage):
        raise NotInvertible(refusal)
    return found


def _network(stage: Stage, solver: Solver) -> tuple[PipelineNetwork, int]:
    """The network, evaluated in the cheapest way that gives the recorded outputs again."""
    recording = stage.recording
    batch = len(recording.states[0])
    network = PipelineNetwork(
        stage,
        "whole runs",
        network_prediction(recording.scheduler),
        solver.t,
        0.0,
        torch.arange(batch),
    )
    limit, spent, gaps = tolerance(stage), 0, {}
    whole = list(range(solver.steps))
    some = sorted({0, solver.steps // 2, solver.steps - 1})
    runs: dict[Mode, list[list[int]]] = {
        "replay": [whole, [0]],  # in a batch and alone
        "steps": [some, *([node] for node in reversed(whole))],  # no index, no memory may matter
        "whole runs": [whole],
    }
    attempts: list[tuple[Mode, Replay | None]] = [("steps", None), ("whole runs", None)]
    try:
        attempts.insert(0, ("replay", read_replay(stage)))
    except Exception as error:  # a loop that looks into its network, or calls it in another way
        gaps["replay"] = str(error) if isinstance(error, NotReplayable) else repr(error)
    for mode, replay in attempts:
        for joint in (False, True) if batch > 1 and mode != "replay" else (False,):
            trial = replace(network, mode=mode, replay=replay, joint=joint)
            try:
                gap = max(_gap(trial, nodes) for nodes in runs[mode])
            except NotInvertible:
                raise
            except MISFITS as error:  # what a pipeline makes of a loop of fewer steps
                if is_full(error):
                    raise
                gaps[mode] = f"{type(error).__name__}: {error}"
                continue
            spent += sum(map(len, runs[mode]))
            if gap <= limit:
                roundoff, more = _roundoff(trial)
                return replace(trial, roundoff=roundoff), spent + more
            gaps[mode] = f"off by {gap:.1e}"
    raise NotInvertible(_unrepeatable(stage, gaps))


def _gap(network: PipelineNetwork, nodes: list[int]) -> float:
    """How far the outputs at recorded states are from the recorded ones, one row at each node."""
    stage = network.stage
    batch = len(stage.inputs[0])
    if network.joint:
        states = torch.stack([stage.inputs[i] for i in nodes])
        found = network.select(torch.zeros(len(nodes), dtype=torch.long)).at(
            states, torch.tensor(nodes)
        )
        expected = [stage.recording.outputs[i] for i in nodes]
    else:
        rows = torch.tensor([i % batch for i in range(len(nodes))])
        states = torch.stack([stage.inputs[i][r] for i, r in zip(nodes, rows, strict=True)])
        with stage.scrambled(batch > 1):
            found = network.select(rows).at(states, torch.tensor(nodes, device=states.device))
        outputs = stage.recording.outputs
        expected = [outputs[i][r] for i, r in zip(nodes, rows, strict=True)]
    return max(relative_gap(f, e) for f, e in zip(found, expected, strict=True))


def _roundoff(network: PipelineNetwork) -> tuple[float, int]:
    r"""Relative round-off of an output, from its second difference over a small change h.

    .. math:: \max_h d(h), \qquad
              d(h) = \frac{\|m(y + hy) - 2 m(y) + m(y - hy)\|}{\sqrt 6\,\|m(y)\|}

    What is smooth in m cancels; the roundings of three evaluations remain. The smallest h is in the
    last place of the pipeline's dtype; one that is lost when the network casts its input says
    nothing, so that it grows until it shows. Parts of a network may round more coarsely than the
    rest does (rotary embeddings in float32, TF32, autocast), and show at larger h only: those of
    :data:`invlib.precision.CHANGES`, where :math:`d > 1000\,h^2` is more than curvature.
    """
    stage, node = network.stage, len(network.times) // 2
    state = stage.inputs[node]
    x = state[None] if network.joint else state[:1]
    small = 2 * torch.finfo(stage.recording.states[node].dtype).eps
    larger = [h for h in CHANGES if h > max(small, FINEST)]

    one, at = (
        network.select(torch.zeros(1, dtype=torch.long)),
        torch.tensor([node], device=x.device),
    )

    def differences(changes: Sequence[float]) -> list[float]:
        m = one.at(x, at)  # one by one: memory is for one
        return [
            second_difference(one.at(x * (1 + h), at), m, one.at(x * (1 - h), at))
            .nan_to_num(torch.inf)
            .item()
            for h in changes
        ]

    found, *coarser = differences([small, *larger])
    spent = 3 + 2 * len(larger)
    while not found and (small := 32 * small) < COARSE:
        found, spent = differences([small])[0], spent + 3
    rough = [d for h, d in zip(larger, coarser, strict=True) if d > CURVED * h**2]
    return max(found, *rough, torch.finfo(torch.float64).eps), spent


def _unrepeatable(stage: Stage, gaps: Mapping[str, str]) -> str:
    name = type(stage.pipe).__name__
    how = "; ".join(f"{mode}: {gap}" for mode, gap in gaps.items())
    drawing = stage.recording.drawing
    if drawing:
        modules = " and ".join(f"pipe.{n}" for n in drawing)
        calls = " and ".join(f"pipe.{n}.eval()" for n in drawing)
        return (
            f"{name} does not repeat itself: {modules} {'is' if len(drawing) == 1 else 'are'} in "
            f"training mode, so that dropout makes it random; call {calls} first ({how})"
        )
    asleep = training(stage.pipe)
    # a pipeline that calls a method of an encoder goes around our hands on it
    perhaps = f", or it uses what is in training mode ({', '.join(asleep)})" if asleep else ""
    return (
        f"{name} gives other outputs at the same states ({how}): its network is random, keeps "
        "something from call to call (a cache such as DeepCache or MagCache), or the call draws "
        "random numbers beside its noise (give generator= as in the call that made the image, or "
        f"options={{'seed': N}} if torch.manual_seed(N) stood before it){perhaps}"
    )


def _notes(reading: Reading) -> tuple[str, ...]:
    stage, network, notes = reading.stage, reading.network, []
    if stage.entrance.kind == "draw":
        notes.append(
            f"{type(stage.pipe).__name__} takes no latents in this call: the noise is what it "
            "draws, so make the picture again with invlib.regenerate"
        )
    if stage.entrance.kind == "first step":
        notes.append(
            f"{type(stage.pipe).__name__} takes no noise in this call: the latents are the first "
            "state of its loop, so make the picture again with invlib.regenerate"
        )
    elif reading.begins_late:
        notes.append(
            f"{type(stage.pipe).__name__} begins with a part of its steps behind it in this call: "
            "the latents are its first state, between a picture and noise"
        )
    if not stage.returns_latents:
        notes.append(
            f"{type(stage.pipe).__name__} returns no latents: those that are inverted are the last "
            "state of its loop"
        )
    for name in stage.recording.drawing:
        notes.append(
            f"pipe.{name} draws random numbers, as it is in training mode: the same seed alone "
            f"makes the same call again; call pipe.{name}.eval() before pictures are made"
        )
    if network.joint:
        notes.append("the rows of this pipeline's batch depend on each other: they are one sample")
    state = stage.recording.states[0]
    if why := limiting(state.device, state.dtype):
        notes.append(why)
    dtype = state.dtype
    if dtype in (torch.float16, torch.bfloat16):
        notes.append(
            f"the search is about float64 states; the pipeline rounds its own to {dtype} in "
            "every step"
        )
    return tuple(notes)
