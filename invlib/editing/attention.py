"""Masks from attention: where the network looks when it reads a word."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from ..denoisers import Denoiser, Guided, untouched
from ..solvers import Solver
from .blend import Found, Recovered, trajectory_of
from .masks import dilate

PLAIN = (  # processors of diffusers that do what attention_weights does, in their own ways
    *("AttnProcessor", "AttnProcessor2_0", "FusedAttnProcessor2_0", "XFormersAttnProcessor"),
)


@dataclass(frozen=True)
class Recorder:
    """An attention processor that notes what a cross-attention layer reads, and changes nothing.

    Attributes:
        inner: the processor that does the work.
        notes: receives the attention of every call, mean over heads, ``[B, places, tokens]``.
    """

    inner: Any
    notes: list[Tensor]

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """The output of the inner processor."""
        if encoder_hidden_states is not None:
            weights = attention_weights(attn, hidden_states, encoder_hidden_states, attention_mask)
            self.notes.append(weights.unflatten(0, (len(hidden_states), -1)).mean(1).double())
        result = self.inner(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        return cast(Tensor, result)


def attention_weights(
    attn: Any, hidden_states: Tensor, text: Tensor, attention_mask: Tensor | None = None
) -> Tensor:
    r"""The weights of a cross-attention layer of diffusers.

    .. math:: A = \mathrm{softmax}\bigl(Q K^\top / \sqrt{d}\bigr)

    Returns:
        ``[B * heads, places, tokens]``; every row sums to 1.
    """
    text = attn.norm_encoder_hidden_states(text) if attn.norm_cross else text
    query = attn.head_to_batch_dim(attn.to_q(hidden_states))
    key = attn.head_to_batch_dim(attn.to_k(text))
    mask = attn.prepare_attention_mask(attention_mask, text.shape[1], len(text))
    return cast(Tensor, attn.get_attention_scores(query, key, mask))


@contextmanager
def processors(module: Any, wrap: Any) -> Iterator[None]:
    """Replace every attention processor p of a network by ``wrap(p)``, and put p back.

    Raises:
        ValueError: if one does not compute what :func:`attention_weights` does.
    """
    own = dict(module.attn_processors)
    for name, p in own.items():
        if type(getattr(p, "inner", p)).__name__ not in PLAIN:
            raise ValueError(
                f"{type(module).__name__} has {type(p).__name__} at {name}, whose attention cannot "
                "be read or changed by its queries and keys: of a UNet call "
                ".set_attn_processor(AttnProcessor2_0()) first; where a mask is wanted, give one, "
                "or the words to invlib.edit_image, which sees whatever calls PyTorch's attention"
            )
    module.set_attn_processor({name: wrap(p) for name, p in own.items()})
    try:
        yield
    finally:
        module.set_attn_processor(own)


@contextmanager
def recording(module: Any) -> Iterator[list[Tensor]]:
    """Note the cross-attention of all calls of a diffusers network, in the order of its layers.

    The network's outputs do not change by a bit, and its processors are put back at the end.

    Args:
        module: a UNet or transformer of diffusers with cross-attention.

    Returns:
        A context whose value is the list that grows, each ``[B, places, tokens]``, mean over
        heads.
    """
    notes: list[Tensor] = []
    with processors(module, lambda inner: Recorder(inner, notes)):
        yield notes


def attention_maps(
    denoiser: Denoiser,
    original: Recovered | Found,
    solver: Solver,
    *,
    nodes: Collection[int] | None = None,
) -> Tensor:
    r"""Where the network looks when it reads each token of the prompt.

    .. math:: A_\ell(p) = \operatorname{mean}_{\text{nodes, layers, heads}}
              \mathrm{softmax}\bigl(Q K^\top / \sqrt d\bigr)_{p \ell}

    Layers of a lower resolution are interpolated. Costs one evaluation for each node, of the
    conditional network alone.

    Args:
        denoiser: an :func:`invlib.guided` denoiser of a diffusers network, with the prompt of the
            original image.
        original: its trajectory, recovered or known, or the :class:`invlib.ImageInversion` of it.
        solver: the sampler's table.
        nodes: states to look at, from 0 to n-1; by default all.

    Returns:
        float64 ``[B, tokens, h, w]`` for states ``[B, c, h, w]``; sums to 1 over the tokens.

    Raises:
        ValueError: if the network has no cross-attention, or another kind of attention
            processors, or shapes do not fit.
    """
    module = getattr(getattr(denoiser, "network", None), "module", None)
    if not isinstance(denoiser, Guided) or not hasattr(module, "set_attn_processor"):
        raise ValueError("attention maps need an invlib.guided denoiser of a diffusers network")
    chosen = list(range(solver.steps) if nodes is None else nodes)
    if not chosen or any(not 0 <= i < solver.steps for i in chosen):
        raise ValueError(f"nodes must lie between 0 and {solver.steps - 1}, got {chosen}")
    states = trajectory_of(original).states
    if states.ndim != 5 or len(states) != solver.steps + 1:
        raise ValueError(
            f"{solver.name} needs states [{solver.steps + 1}, B, c, h, w], got "
            f"{tuple(states.shape)}"
        )

    def look(i: int, x: Tensor) -> Tensor:
        return denoiser.network(x, solver.t[i].to(x).expand(len(x)), denoiser.condition)

    total, count = torch.zeros(()), 0
    with torch.no_grad(), recording(module) as notes:
        for i in chosen:
            x = states[i]
            untouched(partial(look, i), x)
            for note in notes:
                total = total.to(note.device) + _as_picture(note, x.shape[-2], x.shape[-1])
            count += len(notes)
            notes.clear()
    if not count:
        raise ValueError(
            f"no cross-attention was seen in {type(module).__name__}: it reads no text, or not by "
            "its attention processors"
        )
    return total / count


def word_tokens(tokenizer: Any, prompt: str, phrase: str) -> list[int]:
    """Which tokens of a prompt make a phrase, at all its places.

    Args:
        tokenizer: the pipeline's tokenizer.
        prompt: the prompt, of which the tokens are counted with the start token.
        phrase: one or more of its words in their order, for example ``"red spiky hair"``.

    Raises:
        ValueError: if the phrase is not in the prompt.
    """
    ids = tokenizer(prompt).input_ids
    part = tokenizer(phrase, add_special_tokens=False).input_ids
    starts = [i for i in range(len(ids) - len(part) + 1) if ids[i : i + len(part)] == part]
    if not starts or not part:
        raise ValueError(f"the prompt {prompt!r} does not contain {phrase!r}")
    return [i + k for i in starts for k in range(len(part))]


def attention_mask(
    maps: Tensor, tokens: Sequence[Sequence[int]], *, threshold: float = 0.3, grow: int = 0
) -> Tensor:
    r"""A mask from the attention to some tokens.

    .. math:: M(p) = \bigl[\,A(p) - \min A > \tau\,(\max A - \min A)\,\bigr], \qquad
              A = \operatorname{mean}_{\ell \in \text{tokens}} A_\ell

    Args:
        maps: attention, ``[B, tokens, h, w]``, of :func:`attention_maps`.
        tokens: for each sample, the indices of the tokens; see :func:`word_tokens`.
        threshold: :math:`\tau`, from 0 to 1. On the embedded model 0.3 agrees best with the
            renderer's masks of hair and garment, of 0.2 ... 0.6.
        grow: places by which the mask is made larger on all sides; 1 is the 3 x 3 dilation of
            local prompt mixing.

    Returns:
        float64 ``[B, 1, h, w]``.

    Raises:
        ValueError: if a sample has no tokens or they are not in the map.
    """
    if len(tokens) != len(maps) or not all(tokens):
        raise ValueError(f"give at least one token for each of the {len(maps)} samples")
    if any(not 0 <= token < maps.shape[1] for sample in tokens for token in sample):
        raise ValueError(f"tokens must lie between 0 and {maps.shape[1] - 1}")
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold must be in [0, 1), got {threshold}")
    means = [m[list(chosen)].mean(0, keepdim=True) for m, chosen in zip(maps, tokens, strict=True)]
    a = torch.stack(means)
    low, high = a.amin((-2, -1), keepdim=True), a.amax((-2, -1), keepdim=True)
    return dilate(a - low > threshold * (high - low), grow)


def _as_picture(note: Tensor, height: int, width: int) -> Tensor:
    """Attention ``[B, places, tokens]`` of a layer as maps ``[B, tokens, height, width]``."""
    shrink = math.sqrt(height * width / note.shape[1])
    h, w = round(height / shrink), round(width / shrink)
    if h * w != note.shape[1]:
        raise ValueError(f"{note.shape[1]} places are no picture of the shape {height} x {width}")
    maps = note.transpose(1, 2).unflatten(2, (h, w))
    return functional.interpolate(maps, size=(height, width), mode="bilinear", align_corners=False)
