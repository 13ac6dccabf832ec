"""Prompt mixing: another prompt in some steps, or for the values of cross-attention only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from ..denoisers import Denoiser, Guided, Prediction, prediction_of, select
from ..solvers import Solver
from .attention import attention_weights, processors


@dataclass(frozen=True)
class Mixed:
    """A denoiser that is one of two, depending on the time; see :func:`mixed`.

    Attributes:
        network: the denoiser of the steps that are not mixed.
        other: the denoiser of those that are.
        t: time labels of all steps, ``[n]``.
        uses_other: which steps are mixed, bool ``[n]``.
    """

    network: Denoiser
    other: Denoiser
    t: Tensor
    uses_other: Tensor

    @property
    def prediction(self) -> Prediction:
        """What both denoisers predict."""
        return prediction_of(self.network)

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """The prediction of the denoiser whose step is nearest to each time ``t [B]``."""
        step = (t[:, None] - self.t.to(t)).abs().argmin(1)
        mixed = self.uses_other.to(t.device)[step]
        if not mixed.any():
            return self.network(x, t)
        if mixed.all():
            return self.other(x, t)
        result = torch.empty_like(x)
        for denoiser, which in ((self.network, ~mixed), (self.other, mixed)):
            rows = which.nonzero().flatten()
            result[rows] = select(denoiser, rows)(x[rows], t[rows]).to(x.dtype)
        return result

    def select(self, rows: Tensor) -> Mixed:
        """The same mixture for the selected rows."""
        return replace(self, network=select(self.network, rows), other=select(self.other, rows))


def mixed(source: Denoiser, target: Denoiser, solver: Solver, *, start: int, stop: int) -> Mixed:
    r"""Prompt mixing: the new prompt in the steps from ``start`` to before ``stop`` only.

    .. math:: \epsilon(x, t_i) = \begin{cases}
              \epsilon_{target}(x, t_i) & start \le i < stop \\
              \epsilon_{source}(x, t_i) & \text{otherwise} \end{cases}

    Early steps decide the layout, late ones the texture, those between the shapes. Calls of a
    solver at the same time (stages, warm-ups) are one step.

    Args:
        source: denoiser with the prompt of the original.
        target: denoiser with the new prompt.
        solver: the solver whose steps are meant.
        start: first step with the new prompt.
        stop: first step without it.

    Raises:
        ValueError: if the steps are not those of the solver, or the denoisers do not match.

    Source: Patashnik et al., ICCV 2023 (steps 7 to 17 of 50 in the authors' code).
    """
    if not 0 <= start <= stop <= solver.steps:
        raise ValueError(f"need 0 <= start <= stop <= {solver.steps}, got {start} and {stop}")
    if prediction_of(source) != prediction_of(target):
        raise ValueError(f"{prediction_of(source)} cannot be mixed with {prediction_of(target)}")
    steps = torch.arange(solver.steps)
    return Mixed(source, target, solver.t, (steps >= start) & (steps < stop))


@dataclass(frozen=True)
class KeysAndValues:
    """A network that reads keys from one prompt and values from another; see :func:`values_of`.

    Attributes:
        network: a function like :class:`invlib.pipelines.UNet`, with its ``module``.
    """

    network: Any

    @property
    def module(self) -> Any:
        """The diffusers network."""
        return self.network.module

    @property
    def prediction(self) -> Prediction:
        """What the network predicts."""
        return prediction_of(self.network)

    @property
    def dtype(self) -> torch.dtype:
        """The network's own dtype."""
        return cast(torch.dtype, self.network.dtype)

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """The prediction; ``condition [B, 2L, C]`` has the L tokens of the keys first."""
        with processors(self.module, _Apart):
            return cast(Tensor, self.network(x, t, condition))


@dataclass(frozen=True)
class _Apart:
    """An attention processor for texts of which the first half is for keys."""

    inner: Any

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Attention with the weights of one text and the values of another."""
        if encoder_hidden_states is None:
            result = self.inner(attn, hidden_states, None, attention_mask, temb)
            return cast(Tensor, result)
        keys, values = encoder_hidden_states.chunk(2, 1)
        values = attn.norm_encoder_hidden_states(values) if attn.norm_cross else values
        read = attention_weights(attn, hidden_states, keys) @ attn.head_to_batch_dim(
            attn.to_v(values)
        )
        result = attn.to_out[1](attn.to_out[0](attn.batch_to_head_dim(read)))
        result = result + hidden_states if attn.residual_connection else result
        return cast(Tensor, result / attn.rescale_output_factor)


def values_of(source: Denoiser, target: Denoiser) -> Guided:
    r"""Local mixing: look where the old prompt looks, and read there what the new one says.

    .. math:: \mathrm{softmax}\bigl(Q\,K(c_{source})^\top / \sqrt d\bigr)\,V(c_{target})

    in every cross-attention layer, so that the layout stays the original's. For use as the
    ``target`` of :func:`mixed`, or alone.

    Args:
        source: guided denoiser of a pipeline, as :func:`invlib.pipelines.text_denoiser` makes it,
            with the prompt of the original.
        target: the same with the new prompt.

    Raises:
        ValueError: if they are not guided denoisers of one network with embedded prompts of one
            shape.

    Source: Patashnik et al., ICCV 2023.
    """
    if not isinstance(source, Guided) or not isinstance(target, Guided):
        raise ValueError("values can be exchanged between denoisers made by invlib.guided only")
    modules = [getattr(d.network, "module", None) for d in (source, target)]
    if modules[0] is not modules[1] or not hasattr(modules[0], "set_attn_processor"):
        raise ValueError("values can be exchanged between two prompts of one diffusers network")
    keys, values = source.condition, target.condition
    if keys.shape != values.shape or keys.ndim != 3 or source.scale != target.scale:
        raise ValueError(
            f"prompts {tuple(keys.shape)} at scale {source.scale:g} and {tuple(values.shape)} at "
            f"scale {target.scale:g}: give embeddings [B, L, C] of one shape and one scale"
        )
    return replace(
        target,
        network=KeysAndValues(target.network),
        condition=torch.cat([keys, values], 1),
        null=torch.cat([source.null, target.null], 1),
    )
