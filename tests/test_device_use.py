"""Every public function on a device, played on the CPU: with float64, as CUDA has it, and without.

What it makes there is there, what is on the CPU never meets it, generators are its own or move what
they draw, and a round of a search waits for it no more often for more steps or more samples.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import played_device as played
import pytest
import torch
from analytic import mixture, randn
from played_device import There, device_played, waits
from stock import SIZE
from tiny_pipelines import stable_diffusion
from torch import Tensor
from twelve import SCHEDULE

import invlib
from invlib.denoisers import Denoiser, predicting
from invlib.devices import on_device
from invlib.evaluator import Evaluator
from invlib.inverters import METHODS
from invlib.inverters.rounds import Rounds
from invlib.likelihood import Quadrature
from invlib.portraits import caption, held_out
from invlib.probing import from_scheduler
from invlib.sampling import steps

SOLVERS = (
    "ddim",
    "dpm_solver_1",
    "dpm_solver_2m",
    "dpm_solver_pp_1",
    "dpm_solver_pp_2m",
    "dpm_solver_pp_3m",
)
FEW = SCHEDULE.grid(4)
SOLVER = invlib.ddim(FEW)
WEIGHT = randn(6, 6)
CAPTION = caption(held_out(1)[0])
CALL: dict[str, Any] = {"prompt": "a", "num_inference_steps": 2, "guidance_scale": 1.5, **SIZE}


@pytest.fixture
def portraits() -> Any:
    pipe = invlib.load("portraits")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def there() -> Denoiser:
    """A network on the device, in the widest dtype that it has."""
    weight = up(WEIGHT)

    def network(x: Tensor, t: Tensor) -> Tensor:
        assert x.device == t.device == weight.device  # also where a derivative is in between
        return 0.5 * torch.tanh(x.to(weight.dtype) @ weight).to(x.dtype) + 0.2 * x

    return predicting(network, "epsilon")


def up(x: Tensor) -> Tensor:
    """A tensor on the device, in the widest dtype that it has."""
    return (x if played.double or not x.is_floating_point() else x.float()).to("meta")


def settled(x: Tensor) -> bool:
    """Whether a state is where it belongs: on the device if that has float64."""
    return isinstance(x, There) == played.double and x.dtype == torch.float64


def image(count: int = 2, solver: invlib.Solver = SOLVER) -> Tensor:
    """What the network makes."""
    return up(invlib.sample(there(), up(randn(count, 6)), solver).image)


# --- what every public function does there


def sampled() -> None:
    run = invlib.sample(there(), up(randn(2, 6)), SOLVER)
    assert settled(run.states) and settled(run.outputs)


def by_table(name: str) -> None:
    solver = getattr(invlib, name)(FEW)
    run = invlib.sample(there(), up(randn(2, 6)), solver)
    assert settled(run.states) and run.states.isfinite().all()


def inverted(name: str) -> None:
    solver = invlib.dpm_solver_pp_2m(FEW) if name == "algorithm2" else SOLVER
    target = image(solver=solver)
    found = invlib.invert(there(), target, solver, method=name)
    assert settled(found.noise) and settled(found.states)
    if played.double:  # the same by its own name, which is for devices with float64
        found = METHODS[name](there(), target, solver)
        assert settled(found.noise)


def differentiated() -> None:
    target = image().detach().requires_grad_()
    with torch.enable_grad():
        found = invlib.invert(there(), target, SOLVER, differentiable=True)
        found.noise.sum().backward()
    assert isinstance(target.grad, There)


def certified() -> None:
    target, other = image(), image()
    found = invlib.invert(there(), target, SOLVER)
    again = invlib.invert(there(), other, SOLVER, method=partial_exact)
    proof = invlib.certify(there(), found, SOLVER, other=again, vectors=2)
    assert proof.verdict == ("exact",) * 2
    assert isinstance(proof.round_trip, There) == played.double


def partial_exact(denoiser: Denoiser, target: Tensor, solver: invlib.Solver) -> invlib.Inversion:
    """Looks again from another start."""
    return invlib.exact(denoiser, target, solver, others=1)


def timed() -> None:
    assert invlib.batch_times(there(), image(), SOLVER).max_batch >= 1


def compiled_there() -> None:
    """Parts and their filling up; what compiles is PyTorch's own."""
    network = torch.nn.Linear(6, 6).to("meta")
    x = up(randn(3, 6)).float()
    with (
        invlib.compiled(network, rows=2, backend="eager"),
        torch.compiler.set_stance("force_eager"),
    ):
        assert isinstance(network(x), There)


def likely() -> None:
    network = there() if played.double else on_device(there(), "meta")
    pair = [(network, SOLVER), (network, SOLVER)]
    found = invlib.likelihood(None, image(), pair, determinant=Quadrature(vectors=2))
    assert found.log_p.isfinite().all()


def bridged() -> None:
    def outside(x: Tensor, t: Tensor) -> np.ndarray:
        return mixture(SCHEDULE)(x.cpu().double(), t.cpu().double()).numpy()

    network = invlib.bridged(outside, prediction="epsilon", dtype=torch.float64)
    target = up(invlib.sample(network, up(randn(2, 4)), SOLVER).image)
    assert settled(invlib.invert(network, target, SOLVER).noise)


def exact_denoisers() -> None:
    for network in (
        invlib.gaussian(SCHEDULE, up(randn(6)), 0.5),
        invlib.ideal(SCHEDULE, up(randn(3, 6))),
    ):
        states = up(randn(2, 6))
        assert isinstance(network(states, up(torch.full((2,), 500.0).double())), There)


def with_conditions() -> None:
    def network(x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        assert isinstance(condition, There)
        return 0.3 * torch.tanh(x + condition.to(x.dtype))

    condition, null = up(randn(2, 6)), up(torch.zeros(1, 6).double())
    denoiser = invlib.guided(network, condition, null, 1.5, prediction="epsilon")
    target = up(invlib.sample(denoiser, up(randn(2, 6)), SOLVER).image)
    assert settled(invlib.invert(denoiser, target, SOLVER).noise)


def distances() -> None:
    found = invlib.decibel(invlib.nmse(up(randn(2, 6)), up(randn(2, 6, seed=1))))
    assert found.shape == (2,)


def seed_found() -> None:
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    assert invlib.find_seed(up(noise.double()), range(10)).seed == (3,)


def watched() -> None:
    said: list[invlib.Progress] = []
    with invlib.watching(invlib.Watch(callback=said.append)):
        invlib.invert(there(), image(), SOLVER)
    assert said and all(1 <= each.samples <= 2 for each in said)


def pipeline() -> Any:
    pipe = stable_diffusion()
    pipe.set_progress_bar_config(disable=True)
    for module in (pipe.unet, pipe.vae, pipe.text_encoder):
        module.float().requires_grad_(False)
    return pipe.to("meta")


def read_from_a_scheduler() -> None:
    solver = from_scheduler(stable_diffusion().scheduler, 2)
    assert settled(invlib.sample(there(), up(randn(2, 6)), solver).image)


def of_a_pipeline(tmp_path: Path) -> None:
    """There and back; the noise goes to a file and comes back to the device."""
    pipe = pipeline()
    noise = randn(1, 4, 8, 8).float().to("meta")
    latents = pipe(**CALL, latents=noise, output_type="latent").images
    found = invlib.invert_latents(pipe, latents, **CALL)
    assert found.certificate.verdict == ("exact",)
    assert isinstance(found.latents, There) and settled(found.inversion.noise)
    again = invlib.regenerate(pipe, found, output_type="latent")
    assert isinstance(again, There)
    found.save(tmp_path / "noise.safetensors")
    kept = invlib.load_noise(tmp_path / "noise.safetensors", device="meta")
    assert torch.equal(kept.latents.cpu(), found.latents.cpu())


def picture_of_a_pipeline() -> None:
    pipe = pipeline()
    picture = pipe(**CALL, latents=randn(1, 4, 8, 8).float().to("meta")).images
    options = {"decoder": "encoder", "method": "naive"}
    assert isinstance(invlib.invert_image(pipe, picture, options=options, **CALL).latents, There)


def identified() -> None:
    pipe = pipeline()
    latents = pipe(**CALL, latents=randn(1, 4, 8, 8).float().to("meta"), output_type="latent")
    known = {name: value for name, value in CALL.items() if name != "prompt"}
    found = invlib.identify(
        pipe,
        latents.images,
        prompts=("a", "cat"),
        finalists=1,
        determinant=Quadrature(vectors=2, steps=3),
        options={"progress": False},
        **known,
    )
    assert found.sentence


def edited() -> None:
    pipe = pipeline()
    picture = pipe(**CALL, latents=randn(1, 4, 8, 8).float().to("meta")).images
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[4:12, 4:12] = True
    options = {"decoder": "encoder", "method": "naive", "progress": False}
    found = invlib.edit_image(pipe, picture, mask, "cat", options=options, **CALL)
    assert (found.pixels == found.original)[..., 0].all()


def embedded(portraits: Any) -> None:
    """Loaded before: a device of this name is what PyTorch itself loads with."""
    pipe = portraits.to("meta")
    assert all(isinstance(p, There) for p in pipe.unet.parameters())
    call = {"prompt": CAPTION, "num_inference_steps": 1}
    noise = randn(1, 4, 16, 16).float().to("meta")
    assert isinstance(pipe(**call, latents=noise, output_type="latent").images, There)


CASES: dict[str, Callable[..., None]] = {
    "batch_times": timed,
    "bridged": bridged,
    "certify": certified,
    "compiled": compiled_there,
    "decibel": distances,
    "edit_image": edited,
    "find_seed": seed_found,
    "from_scheduler": read_from_a_scheduler,
    "gaussian": exact_denoisers,
    "guided": with_conditions,
    "ideal": exact_denoisers,
    "identify": identified,
    "invert": differentiated,
    "invert_image": picture_of_a_pipeline,
    "invert_latents": of_a_pipeline,
    "likelihood": likely,
    "load": embedded,
    "load_noise": of_a_pipeline,
    "nmse": distances,
    "predicting": sampled,
    "regenerate": of_a_pipeline,
    "sample": sampled,
    "watching": watched,
    **{name: by_table for name in SOLVERS},
    **{name: inverted for name in METHODS if name in invlib.__all__},
}


# What a device without float64 cannot do yet, and says so.
WITHOUT = {distances, exact_denoisers}
# The played device does not play the way back through what was expanded: on a device this one has
# not been tried.
UNPLAYED = {"find_prompt"}
ONCE = {case if case not in (by_table, inverted) else name: name for name, case in CASES.items()}


def test_there_is_a_case_for_every_public_function() -> None:
    functions = {n for n in invlib.__all__ if inspect.isroutine(getattr(invlib, n))}
    assert functions == set(CASES) | UNPLAYED


def test_words_are_not_looked_for_on_a_device_without_float64() -> None:
    with device_played(float64=False), pytest.raises(ValueError, match="has no float64"):
        invlib.find_prompt(pipeline(), torch.zeros(1, 4, 8, 8), start="a")


@pytest.mark.parametrize("float64", [True, False], ids=["float64", "no float64"])
@pytest.mark.parametrize("name", list(ONCE.values()))
def test_a_public_function_works_on_the_device(
    request: pytest.FixtureRequest, name: str, float64: bool, tmp_path: Path
) -> None:
    case = CASES[name]
    given = {"name": name, "tmp_path": tmp_path}
    wanted = inspect.signature(case).parameters
    if "portraits" in wanted:
        given["portraits"] = request.getfixturevalue("portraits")
    with torch.no_grad(), device_played(float64=float64):
        if case in WITHOUT and not float64:
            with pytest.raises(TypeError, match="does not support it"):
                case()
        else:
            case(**{key: given[key] for key in wanted})


# --- how often the host waits


def rounds_of(method: str, count: int, number: int) -> list[tuple[int, Counter[str]]]:
    """Of each round of a search: samples at work, and where the host waited for the device.

    Args:
        method: of all steps at once.
        count: samples.
        number: steps.
    """
    solver = invlib.dpm_solver_pp_2m(SCHEDULE.grid(number))
    found: list[tuple[int, int]] = []

    def noted(self: Rounds) -> Tensor:
        found.append((len(self.rows), len(waits)))
        return evaluate(self)

    evaluate = Rounds.evaluate
    with torch.no_grad(), device_played(float64=True), pytest.MonkeyPatch.context() as patch:
        target = image(count, solver)
        patch.setattr(Rounds, "evaluate", noted)
        invlib.invert(there(), target, solver, method=method)
    pairs = zip(found[1:], found[2:], strict=False)  # before the first round-off is measured
    return [(k, Counter(waits[a:b])) for (k, a), (j, b) in pairs if k == j]


@pytest.mark.parametrize("method", ["exact", "multisecant"])
@pytest.mark.parametrize(("count", "number"), [(1, 4), (5, 4), (2, 9)])
def test_a_round_waits_once_for_the_device(method: str, count: int, number: int) -> None:
    """For the residuals, which decide who goes on: not once a sample, nor once a step."""
    rounds = rounds_of(method, count, number)
    assert len(rounds) > 3 and rounds[0][0] == count
    for _, waited in rounds:
        assert waited == {"_to_copy in rootfind.py:observe": 1}


def test_a_round_without_its_decision_waits_for_nothing() -> None:
    """On PyTorch's own ``meta``, where every value that is asked for raises."""
    solver = invlib.dpm_solver_pp_2m(SCHEDULE.grid(5))
    with torch.no_grad():
        target, states = (torch.empty(*n, 2, 6, device="meta").double() for n in ((), (5,)))
        network = predicting(lambda x, t: torch.tanh(x), "epsilon")
        evaluator = Evaluator(network, solver, [0] * 2)
        rounds = Rounds.start(evaluator, target, states, memory=3)
        for _ in range(3):
            rounds.move(rounds.evaluate())
    assert rounds.y.shape == (2, 5, 6) and rounds.y.is_meta
    assert evaluator.counts == [15, 15]


@pytest.mark.parametrize("name", SOLVERS)
def test_sampling_itself_waits_for_nothing(name: str) -> None:
    solver = getattr(invlib, name)(FEW)
    network = predicting(lambda x, t: 0.1 * x, "epsilon")
    y = torch.empty(2, 6, dtype=torch.float64, device="meta")
    rows = torch.arange(2)

    def output(y: Tensor, i: int) -> Tensor:
        return solver.output(network, y, torch.full_like(rows, i), rows)

    (*_, (_, _, end)) = steps(solver, output, y)
    assert end.is_meta and end.shape == y.shape


def test_what_waits_is_noticed() -> None:
    with device_played(float64=True):
        x = up(torch.arange(3.0))
        for wait in (x.sum().item, x.tolist, x.cpu, lambda: x[x > 1], lambda: bool(x[0] > 0)):
            before = len(waits)
            wait()
            assert len(waits) == before + 1
        before = len(waits)
        x[torch.tensor([True, False, True])], x[[0, 1]], x.clamp(max=1), torch.where(x > 1, x, 0.0)
        assert len(waits) == before  # indices of the CPU go down, nothing comes up


def test_a_generator_of_the_cpu_draws_nothing_there() -> None:
    with device_played(float64=True) as device:
        draw = torch.Generator().manual_seed(0)
        with pytest.raises(RuntimeError, match="Expected a generator on meta"):
            torch.randn(2, generator=draw, device=device)
        assert isinstance(torch.randn(2, generator=draw).to(device), There)
