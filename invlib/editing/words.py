"""Where any network looks when it reads some words: its attention, noted as it is computed.

Whatever the class of the network and of its attention processors, in the end a query meets keys in
one function of PyTorch. There they have been through the network's own projections,
normalisations and rotations, so that no line here knows a Stable Diffusion from a Flux.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ..pipelines import ImageInversion
from ..pipelines.reading import Reading
from ..pipelines.running import Hands, Stop, modules_of, run
from .attention import _as_picture
from .region import LOOKS


@dataclass
class Noted(TorchFunctionMode):
    """Notes the queries and keys of every attention, and changes nothing.

    Attributes:
        calls: query ``[R, heads, Q, d]``, key ``[R, heads, K, d]``, mask and scale of every call.
    """

    calls: list[tuple[Tensor, Tensor, Tensor | None, float | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call ``func``; note what goes into an attention."""
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            query, key = (
                kwargs.get(n, args[i] if i < len(args) else None)
                for i, n in enumerate(("query", "key"))
            )
            mask = kwargs.get("attn_mask", args[3] if len(args) > 3 else None)
            self.calls.append((query, key, mask, kwargs.get("scale")))
        return func(*args, **kwargs)


def attention_to(
    words: str | Sequence[str],
    old: Reading,
    new: Reading,
    result: ImageInversion,
    sizes: tuple[tuple[int, int], tuple[int, int]],
) -> Tensor:
    r"""How much the network looks at words of the prompt, at every pixel of the picture.

    .. math:: A(p) = \operatorname{mean}_{\text{nodes, layers, heads}}
              \sum_{\ell \in \text{words}} \mathrm{softmax}_{\text{text}}
              \bigl(q_p \cdot k_\ell / \sqrt d\bigr)

    Which of the keys are text, where one attention is over text and places, is read by negating
    the text: they change in the first layer that reads it. Which rows of the network's batch are
    conditional is read from another prompt, which changes no others.

    Args:
        words: a phrase of the prompt, one for all pictures or one each.
        old: the call that made the picture.
        new: the call with another prompt.
        result: the picture's inversion.
        sizes: height and width of the latents, and of the pictures.

    Returns:
        float64 ``[B, 1, H, W]``.

    Raises:
        ValueError: if the words are not in the prompt, or no attention to text is seen.
    """
    states, steps = result.inversion.states, old.solver.steps
    count = len(result.target)
    phrases = [words] * count if isinstance(words, str) else list(words)
    if len(phrases) != count:
        raise ValueError(f"{len(phrases)} phrases for {count} pictures: give one, or one each")
    tokens, length = tokens_of(
        old.stage.pipe, dict(result.call), old.stage.recording.inner, phrases
    )
    (height, width), size = sizes
    total, layers = torch.zeros(()), 0
    first = _attentions(old, states[0], 0)
    negated = _attentions(old, states[0], 0, negated=True)
    reads = _read(first, negated, _attentions(new, states[0], 0), length, count)
    for i in range(0, steps, max(1, steps // LOOKS)):
        for attention in _attentions(old, states[i], i):
            weights = reads.weights(*attention)
            if weights is None:
                continue
            each = [w[:, chosen].sum(1) for w, chosen in zip(weights, tokens, strict=True)]
            maps = _as_picture(torch.stack(each)[..., None], height, width)
            total, layers = total.to(maps.device) + maps, layers + 1
    return functional.interpolate(total / layers, size=size, mode="bicubic", align_corners=False)


def tokens_of(
    pipe: Any, call: dict[str, Any], inner: Any, phrases: Sequence[str]
) -> tuple[list[list[int]], int]:
    """The places of phrases in the text that the network reads, and how long that is.

    Negative prompts are left empty, so that what stands in them is not taken for the prompt.
    The text encoders of the pipeline's own call are watched: what they are given are the tokens.
    Texts of several encoders stand side by side in one sequence where its length is the sum of
    theirs, or longer, and otherwise in channels.

    Raises:
        ValueError: if a phrase is not in its prompt, or the texts do not explain the length.
    """
    texts: list[Tensor] = []
    length = 0

    def module(name: str, owner: Any, real: Any, args: Any, kwargs: Any) -> Any:
        nonlocal length
        if name in inner:
            text = kwargs.get("encoder_hidden_states")
            length = 0 if text is None else text.shape[1]
            raise Stop
        ids = kwargs.get("input_ids", args[0] if args else None)
        if isinstance(ids, Tensor) and ids.ndim == 2 and not ids.is_floating_point():
            texts.append(ids.cpu())
        return real(*args, **kwargs)

    run(pipe, {name: _without(name, value) for name, value in call.items()}, Hands(module=module))
    if not length:
        raise ValueError("the network is given no text as encoder_hidden_states: give a mask")
    names = sorted(n for n in vars(pipe) if n.startswith("tokenizer"))
    tokenizers = [getattr(pipe, n) for n in names if callable(getattr(pipe, n))]
    return [
        _places(tokenizers, [_row(ids, i, len(phrases)) for ids in texts], phrase, length)
        for i, phrase in enumerate(phrases)
    ], length


def _row(ids: Tensor, picture: int, count: int) -> list[int]:
    """The tokens of one picture of some, of which those of one prompt follow each other."""
    return [int(i) for i in ids[picture * len(ids) // count]]


def _without(name: str, value: Any) -> Any:
    """An argument of the call; of a negative prompt in words, as many empty texts."""
    if not name.startswith("negative_prompt") or isinstance(value, Tensor):
        return value
    if isinstance(value, list | tuple) and all(isinstance(text, str) for text in value):
        return [""] * len(value)
    return "" if isinstance(value, str) else value


def _places(
    tokenizers: Sequence[Any], texts: Sequence[list[int]], phrase: str, length: int
) -> list[int]:
    """Where a phrase stands in the text of one picture, as every encoder is given it."""
    sizes = list(dict.fromkeys(map(len, texts)))
    if length in sizes:
        starts = {length: 0}
    elif sum(sizes) <= length:  # less, where an encoder that is missing is filled up
        starts = {size: sum(sizes[:k]) for k, size in enumerate(sizes)}
    else:
        raise ValueError(f"texts of {sizes} tokens do not make the network's {length}: give a mask")
    parts = [t(phrase, add_special_tokens=False).input_ids for t in tokenizers]
    found: set[int] = set()
    for line in texts:
        if len(line) not in starts:
            continue
        for part in parts:
            for i in range(len(line) - len(part) + 1):
                if part and line[i : i + len(part)] == list(part):
                    found |= {starts[len(line)] + i + k for k in range(len(part))}
    if not found:
        raise ValueError(f"the prompt does not contain {phrase!r}")
    return sorted(found)


Attention = tuple[Tensor, Tensor, Tensor | None, float | None]


@dataclass(frozen=True)
class Reads:
    """How a network's attention reads the text.

    Attributes:
        joint: whether one attention is over text and places, and not over the text alone.
        keys: which of the keys are text.
        places: which of the queries are places of the picture.
        rows: the conditional rows of the network's batch.
        many: number of keys in all.
    """

    joint: bool
    keys: slice
    places: slice
    rows: Tensor
    many: int

    def weights(self, query: Tensor, key: Tensor, mask: Tensor | None, scale: Any) -> Tensor | None:
        """Weights of the text at every place, ``[B, places, tokens]``; None if none is read."""
        if key.shape[-2] != self.many or (query.shape[-2] == self.many) != self.joint:
            return None
        query, key = query[self.rows][..., self.places, :], key[self.rows][..., self.keys, :]
        scores = query.double() @ key.double().mT * (scale or 1 / math.sqrt(query.shape[-1]))
        if mask is not None and not self.joint:
            mask = mask if len(mask) == 1 else mask[self.rows]
            hidden = mask.dtype == torch.bool
            scores = scores.masked_fill(~mask, -math.inf) if hidden else scores + mask
        return scores.softmax(-1).mean(1)


def _attentions(
    reading: Reading, states: Tensor, node: int, *, negated: bool = False
) -> list[Attention]:
    """All attentions of one evaluation at the states of a node; of a negated text, if asked."""

    def negate(module: Any, args: Any, kwargs: Any) -> Any:
        text = kwargs.get("encoder_hidden_states")
        return args, kwargs if text is None else {**kwargs, "encoder_hidden_states": -text}

    noted, pipe = Noted(), reading.stage.pipe
    with ExitStack() as stack:
        for name in reading.stage.recording.inner:
            module = modules_of(pipe)[name]
            if negated:
                hook = module.register_forward_pre_hook(negate, with_kwargs=True)
                stack.callback(hook.remove)
            stack.enter_context(_none_missed(module, noted))
        stack.enter_context(noted)
        reading.network.at(states, torch.full((len(states),), node))
    return noted.calls


@contextmanager
def _none_missed(network: Any, noted: Noted) -> Iterator[None]:
    """Refuse a layer with an attention processor that reads the text unnoted.

    Raises:
        ValueError: with the layer and its processor.
    """
    before: list[int] = []

    def began(layer: Any, args: Any, kwargs: Any) -> None:
        before.append(len(noted.calls))

    def ended(layer: Any, args: Any, kwargs: Any, output: Any) -> None:
        text = kwargs.get("encoder_hidden_states", args[1] if len(args) > 1 else None)
        if before.pop() == len(noted.calls) and text is not None:
            raise ValueError(
                f"{type(network).__name__} reads the text by {type(layer.processor).__name__}, "
                "which goes around PyTorch's attention, so that nothing is seen of it: give the "
                "network its own processors back (of a UNet .set_attn_processor("
                "AttnProcessor2_0()); without slicing and xFormers), or give a mask, or None"
            )

    hooks = []
    for layer in network.modules():
        if getattr(layer, "processor", None) is not None:
            hooks.append(layer.register_forward_pre_hook(began, with_kwargs=True))
            hooks.append(layer.register_forward_hook(ended, with_kwargs=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _read(
    plain: Sequence[Attention],
    negated: Sequence[Attention],
    other: Sequence[Attention],
    length: int,
    count: int,
) -> Reads:
    """How the text is read: by what changes in the first attention that changes with it.

    Args:
        plain: all attentions with the prompt.
        negated: with all of the text negated, and nothing else.
        other: with another prompt.
        length: number of tokens of the text.
        count: number of pictures.

    Raises:
        ValueError: if no attention reads the text as far as can be seen.
    """
    for (query, key, *_), (_, changed, *_), (_, second, *_) in zip(
        plain, negated, other, strict=False
    ):
        moved = (key - changed).abs().amax((0, 1, 3)) > 0  # [K]
        if not moved.any():
            continue
        many, queries = key.shape[-2], query.shape[-2]
        if many < length:
            break
        late = not moved[: many - length].any()
        keys = slice(many - length, many) if late else slice(0, length)
        joint = many > length and many == queries
        if moved.sum() > moved[keys].sum() or not (joint or many == length):
            break
        places = slice(0, queries)
        if joint:
            places = slice(0, many - length) if late else slice(length, many)
        differ = (key - second)[..., keys, :].abs().amax((1, 2, 3)) > 0
        rows = differ.nonzero().flatten()
        if len(rows) != count:
            raise ValueError(
                f"{len(rows)} rows of the network's batch change with the prompt, for {count} "
                "pictures: give a new prompt that differs for each of them, or a mask"
            )
        return Reads(joint, keys, places, rows, many)
    raise ValueError("no attention to the prompt's words was seen: give a mask, or None")
