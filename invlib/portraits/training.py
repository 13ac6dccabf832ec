"""One training loop for every network: EMA, cosine decay, resumable checkpoints."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from ..whole import whole


def fit(
    network: nn.Module,
    loss: Callable[[int], Tensor],
    *,
    steps: int,
    checkpoint: Path,
    lr: float = 1e-3,
    ema: float = 0.999,
    save_every: float = 120.0,
    description: str = "training",
) -> float:
    """Minimise ``loss(step)`` and leave the averaged weights in ``network``.

    Args:
        network: the module to train, in place.
        loss: called once a step; draws its own batch from torch's generator.
        steps: number of optimiser steps of the whole run.
        checkpoint: file that is written every ``save_every`` seconds and resumed from.
        lr: peak learning rate (100 steps of warm-up, flat to 30 %, cosine to zero).
        ema: decay of the exponential average of the weights.
        save_every: seconds between two checkpoints.
        description: name on the progress bar.

    Returns:
        Seconds of training, summed over all runs that resumed this checkpoint.

    Raises:
        ValueError: if the checkpoint is damaged, or none of this network.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr, weight_decay=0.01)
    average = [p.detach().clone() for p in parameters]
    step, seconds = 0, 0.0
    if checkpoint.exists():
        average, step, seconds = _resumed(checkpoint, network, optimizer)
    network.train()
    bar = tqdm(total=steps, initial=step, desc=description, mininterval=20)
    running, clock, saved = None, time.monotonic(), time.monotonic()
    while step < steps:
        for group in optimizer.param_groups:
            group["lr"] = lr * _decay(step, steps)
        value = loss(step)
        if not torch.isfinite(value):
            raise FloatingPointError(f"{description}: the loss is {value.item()} at step {step}")
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        decay = min(ema, (1 + step) / (10 + step))
        for mean, parameter in zip(average, parameters, strict=True):
            mean.lerp_(parameter.detach(), 1 - decay)
        running = value.item() if running is None else 0.98 * running + 0.02 * value.item()
        bar.set_postfix(loss=f"{running:.4f}", refresh=False)
        bar.update()
        now = time.monotonic()
        seconds, clock = seconds + now - clock, now
        if now - saved > save_every or step == steps:
            state = {"average": average, "step": step, "seconds": seconds}
            _save(checkpoint, network, optimizer, state)
            saved = now
    bar.close()
    for mean, parameter in zip(average, parameters, strict=True):
        parameter.data.copy_(mean)
    network.eval()
    return seconds


def _save(
    checkpoint: Path, network: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Write where a training stands, whole or not at all, without pickle."""
    known = optimizer.state_dict()
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"average.{i}": value for i, value in enumerate(state["average"])}
    for i, values in known["state"].items():
        tensors |= {f"optimizer.{i}.{name}": value for name, value in values.items()}
    numbers = {"step": state["step"], "seconds": state["seconds"], "groups": known["param_groups"]}
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    with whole(checkpoint) as part:
        copies = {name: value.detach().cpu().clone() for name, value in tensors.items()}
        save_file(copies, part, {"training": json.dumps(numbers)})


def _resumed(
    checkpoint: Path, network: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[list[Tensor], int, float]:
    """Go on where a training stood: the averaged weights, the step, and the seconds so far."""
    device = next(network.parameters()).device
    try:
        with safe_open(checkpoint, "pt", device=str(device)) as file:
            numbers = json.loads(file.metadata()["training"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        network.load_state_dict(_part(tensors, "network."))
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in _part(tensors, "optimizer.").items():
            i, entry = name.split(".", 1)
            states.setdefault(int(i), {})[entry] = value
        optimizer.load_state_dict({"state": states, "param_groups": numbers["groups"]})
        average = _part(tensors, "average.")
        means = [average[str(i)] for i in range(len(average))]
        step, seconds = int(numbers["step"]), float(numbers["seconds"])
        if step < 0 or not 0 <= seconds < math.inf:
            raise ValueError(f"step {step} after {seconds:g} seconds")
        torch.manual_seed(step)
    except (
        SafetensorError,
        LookupError,
        ArithmeticError,
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:
        raise ValueError(
            f"{checkpoint} is damaged, or of another network or version: move it away to begin "
            f"anew ({error})"
        ) from error
    return means, step, seconds


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _decay(step: int, steps: int) -> float:
    warm, done = min(1.0, (step + 1) / 100), step / steps
    return warm * (1.0 if done < 0.3 else 0.5 * (1 + math.cos(math.pi * (done - 0.3) / 0.7)) + 1e-3)
