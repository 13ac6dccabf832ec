"""Calls stay within a share of the free memory; where they fit, all is as it would be."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import typer
from analytic import mixture, randn
from chapters import ROOT
from torch import Tensor

import invlib
from invlib import room
from invlib.bridge import bridged
from invlib.cli import app
from invlib.denoisers import Denoiser, predicting
from invlib.inverters import METHODS, exact, invert
from invlib.inverters.implicit import adjoint, transposed_matrix
from invlib.likelihood import Quadrature, exactly, likelihood
from invlib.sampling import sample
from invlib.schedule import Schedule
from invlib.singular import singular_values
from invlib.solvers import ddim, dpm_solver_pp_2m

SCHEDULE = Schedule.scaled_linear()
SOLVER, EULER = dpm_solver_pp_2m(SCHEDULE.grid(6)), ddim(SCHEDULE.grid(6))
DIM, ROWS, WIDE = 4, 5, 10_000  # a row of the wide network takes 80 kB a tensor
NETWORK = mixture(SCHEDULE, DIM)
IMAGE = sample(NETWORK, randn(ROWS, DIM), SOLVER).image


def wide(sizes: list[int]) -> Denoiser:
    """The mixture behind much memory; it notes the rows of the calls that end."""

    def network(x: Tensor, t: Tensor) -> Tensor:
        large = x.repeat(1, WIDE // DIM)
        found = NETWORK(large.view(len(x), -1, DIM).mean(1), t)
        sizes.append(len(x))
        return found

    return predicting(network, "epsilon")


def free(monkeypatch: pytest.MonkeyPatch, bytes_: float | None) -> None:
    monkeypatch.setattr(room, "free_bytes", lambda device: bytes_)


def test_a_call_is_ended_before_an_operation_has_no_room_and_is_made_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """30 states at once would take 2.4 MB, of which 0.5 MB may be taken: no call does."""
    whole: list[int] = []
    free(monkeypatch, None)
    wanted = exact(wide(whole), IMAGE, SOLVER)
    sizes: list[int] = []
    free(monkeypatch, 1e6)
    found = exact(wide(sizes), IMAGE, SOLVER)
    assert max(whole) == ROWS * SOLVER.steps and 1 < max(sizes) <= 0.5e6 / (8 * WIDE)
    assert found.reason == wanted.reason == ("converged",) * ROWS
    torch.testing.assert_close(found.noise, wanted.noise)
    assert (found.nfe - wanted.nfe).abs().max() <= 2 * SOLVER.steps  # round-off differs


def test_what_fits_is_called_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same calls, and the same values to the last bit."""
    given: list[list[int]] = [[], []]
    free(monkeypatch, None)
    wanted = exact(wide(given[0]), IMAGE, SOLVER, others=1)
    free(monkeypatch, 1e8)
    found = exact(wide(given[1]), IMAGE, SOLVER, others=1)
    assert given[0] == given[1]
    assert torch.equal(found.states, wanted.states) and torch.equal(found.nfe, wanted.nfe)


def test_a_network_outside_pytorch_begins_with_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless there is little to do: then it is called as ever."""
    sizes: list[int] = []

    def function(x: Tensor, t: Tensor) -> Any:
        sizes.append(len(x))
        return NETWORK(x, t).numpy()

    network = bridged(function, prediction="epsilon", dtype=torch.float64)
    free(monkeypatch, 1e12)
    exact(network, IMAGE, SOLVER)
    assert sizes[0] == ROWS * SOLVER.steps
    sizes.clear()
    monkeypatch.setattr(room, "OUTSIDE", 1e12)
    monkeypatch.setattr(room, "in_use", lambda line="VmRSS": 1.0)
    assert exact(network, IMAGE, SOLVER).reason == ("converged",) * ROWS
    assert sizes[:6] == [1, 2, 4, 8, 15, 30]


def test_what_was_there_before_does_not_count() -> None:
    """Weights and their views are nobody's; what is freed is free."""
    weights = torch.zeros(1000, 1000)
    with room.Within(2e4, "cpu") as seen:
        for _ in range(5):
            weights.T[:10].sum(1)
            torch.ones(1000)
    assert 4000 <= seen.peak <= 9000 and seen.live == 0
    with pytest.raises(room.TooLargeError, match="out of memory"), room.Within(2e4, "cpu"):
        torch.outer(weights[0], weights[0])
    with pytest.raises(room.TooLargeError), room.Within(1e9, "cpu"):
        torch.zeros(10**12)  # more than there is: nobody has tried to make it


@pytest.mark.parametrize("most", [0, -1, "fastest", 1.5])
def test_a_number_of_states_is_one(most: Any) -> None:
    with pytest.raises(ValueError, match="max_batch is"):
        invert(NETWORK, IMAGE, SOLVER, max_batch=most)


def gradient(network: Denoiser, **options: Any) -> Tensor:
    image = IMAGE.clone().requires_grad_()
    invert(network, image, SOLVER, differentiable=True, **options).noise.square().sum().backward()
    assert image.grad is not None
    return image.grad


def certified(network: Denoiser, **options: Any) -> Tensor:
    found = invert(NETWORK, IMAGE, SOLVER, method="naive")
    proof = invlib.certify(network, found, SOLVER, vectors=DIM, **options)
    return torch.stack([proof.round_trip, proof.sigma_min, proof.sigma_max])


def likely(determinant: Any, network: Denoiser, **options: Any) -> Tensor:
    found = likelihood(network, IMAGE[:2], [SOLVER], determinant=determinant, naive=True, **options)
    return torch.cat([found.candidates[0].log_p, found.candidates[0].scores.naive])


DOORS: dict[str, Callable[..., Tensor]] = {
    **{
        name: lambda network, name=name, **o: (
            invert(
                network,
                IMAGE,
                EULER if name in ("algorithm1", "stepwise") else SOLVER,
                method=name,
                **o,
            ).noise
        )  # type: ignore[misc]
        for name in METHODS
    },
    "sample": lambda network, **o: sample(network, randn(ROWS, DIM), SOLVER, **o).image,
    "certify": certified,
    "singular values": lambda network, **o: torch.stack(
        singular_values(network, randn(ROWS, DIM), SOLVER, **o)
    ),
    "likelihood, exactly": lambda network, **o: likely(exactly, network, **o),
    "likelihood, by quadrature": lambda network, **o: likely(
        Quadrature(vectors=2, steps=3), network, **o
    ),
    "derivatives": gradient,
}


@pytest.mark.parametrize("how", ["memory", "max_batch"])
@pytest.mark.parametrize("door", DOORS)
def test_every_door_goes_on_in_parts(door: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for a single row, and where no more than two are asked for."""
    free(monkeypatch, None)
    wanted, sizes = DOORS[door](NETWORK), list[int]()

    def network(x: Tensor, t: Tensor) -> Tensor:
        found = NETWORK(x, t)
        sizes.append(len(x))
        return found

    denoiser = predicting(network, "epsilon")
    if how == "memory":
        free(monkeypatch, 1.0)
        found = DOORS[door](denoiser)
    else:
        found = DOORS[door](denoiser, max_batch=2)
    assert max(sizes) <= (1 if how == "memory" else 2)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-9)


class Fault(torch.autograd.Function):
    """The identity; a derivative of more than one row has no room."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        if len(g) > 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return g


def test_full_memory_in_a_backward_pass_makes_it_smaller() -> None:
    """Of the products with the transposed matrix; the root is not searched again."""
    denoiser = predicting(lambda x, t: Fault.apply(NETWORK(x, t)), "epsilon")
    solver = ddim(SCHEDULE.grid(3))
    y = sample(NETWORK, randn(2, DIM), solver).states[:-1].transpose(0, 1).contiguous()
    wanted, found = (
        adjoint(solver, transposed_matrix(network, solver, y), torch.ones_like(y))
        for network in (NETWORK, denoiser)
    )
    torch.testing.assert_close(found, wanted)


# Every public function that calls a network takes the number, or says why not

ONE = "one state a sample in a call, and a share of the free memory as everywhere"
WITHOUT = {
    "rivals": f"a rival as it was published: {ONE}",
    "flow": ONE,
    "starts": "inside a search, whose evaluator has the number",
    "step_goal": "inside a search",
    "solved_to": "inside a search",
    "editing.blend": f"sampling with a mask: {ONE}",
    "editing.mixing": "makes a network",
    "batch_times": "it measures the number, up to most",
    "limits": f"draws of a study: {ONE}",
    "blocks": "chunk is its number",
    "sample_image": "parts are its number",
    "sampled_states": "parts are its number",
}
API = re.findall(r"automodule:: (\S+)", (ROOT / "book/reference/api.md").read_text())


def public() -> dict[str, Callable[..., Any]]:
    """The functions of the API that take a network, by module and name."""
    found = {}
    for name in API:
        module = importlib.import_module(name)
        for part, value in inspect.getmembers(module, inspect.isfunction):
            if value.__module__ == name and not part.startswith("_"):
                parameters = inspect.signature(value).parameters
                if {"denoiser", "image"} <= set(parameters) or {"denoiser", "noise"} <= set(
                    parameters
                ):
                    found[f"{name}.{part}"] = value
    return found


@pytest.mark.parametrize("name", public())
def test_who_calls_a_network_takes_max_batch(name: str) -> None:
    takes = "max_batch" in inspect.signature(public()[name]).parameters
    assert takes != any(part in name for part in WITHOUT), name


NO_NETWORK = "calls no network"
STOCK = "the pipeline's own call, as it is"
OTHERS = {
    **dict.fromkeys(("bridged", "predicting", "guided", "gaussian", "ideal"), NO_NETWORK),
    **dict.fromkeys(("decibel", "nmse", "load", "load_noise", "find_seed", "watching"), NO_NETWORK),
    **dict.fromkeys(("ddim", "dpm_solver_1", "dpm_solver_2m", "dpm_solver_pp_1"), NO_NETWORK),
    **dict.fromkeys(("dpm_solver_pp_2m", "dpm_solver_pp_3m", "from_scheduler"), NO_NETWORK),
    "regenerate": STOCK,
    "batch_times": "it measures the number",
    "compiled": "rows is its number",
}
COMMANDS = {
    **dict.fromkeys(("invert", "identify", "edit", "watermark identify"), True),
    **dict.fromkeys(("sample", "regenerate", "certify", "watermark embed", "demo"), False),  # STOCK
    **dict.fromkeys(("seeds", "models", "figures", "rehearse"), False),  # no search of the user's
}


@pytest.mark.parametrize("name", [n for n in invlib.__all__ if n[0].islower()])
def test_every_public_function_takes_max_batch_or_options_or_has_a_reason(name: str) -> None:
    function = getattr(invlib, name)
    if name == "certify":  # whose options are those of
        function = invlib.certificate.certify
    every = inspect.signature(function).parameters.values()
    takes = {"max_batch", "options"} & {p.name for p in every if p.kind is not p.VAR_KEYWORD}
    assert bool(takes) != (name in OTHERS)


def test_every_command_that_searches_takes_max_batch() -> None:
    groups = typer.main.get_command(app)
    found = {}
    for name, command in groups.commands.items():  # type: ignore[attr-defined]
        for part, one in getattr(command, "commands", {"": command}).items():
            options = [o for p in one.params for o in p.opts]
            found[f"{name} {part}".strip()] = "--max-batch" in options
    assert found == COMMANDS
