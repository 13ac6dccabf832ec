"""The words of a prompt as numbers that may change, and the words that are nearest to such numbers.

The pipeline's own call is run as far as its network, with other vectors in the place of the
embeddings of some tokens. What the network is then given is a differentiable function of them,
through the text encoder and whatever the pipeline does with its answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..pipelines.conditions import conditions
from ..pipelines.network import PipelineNetwork
from ..pipelines.replay import Path, _flatten
from ..pipelines.running import Hands, Stop, modules_of, run


@dataclass(frozen=True)
class Lexicon:
    """The tokenizer and the token embeddings of a text encoder.

    Attributes:
        encoder: the name of the text encoder.
        tokenizer: its tokenizer.
        embed: its module that looks up embeddings.
        allowed: indices of the tokens that may become words; None for all.
    """

    encoder: str
    tokenizer: Any
    embed: Any = field(repr=False)
    allowed: tuple[int, ...] | None = None

    @classmethod
    def of(cls, pipe: Any, vocabulary: Sequence[str] | None = None) -> Lexicon:
        """That of a pipeline's first text encoder.

        Args:
            pipe: the pipeline.
            vocabulary: the words to choose from, of one token each; by default all of its tokens.

        Raises:
            ValueError: if there is none, or a word is no single token.
        """
        for name, module in sorted(modules_of(pipe).items()):
            tokenizer = getattr(pipe, name.replace("text_encoder", "tokenizer"), None)
            if name.startswith("text_encoder") and callable(tokenizer):
                whole = cls(name, tokenizer, module.get_input_embeddings())  # type: ignore[operator]
                break
        else:
            raise ValueError(
                f"{type(pipe).__name__} has no text encoder with a tokenizer, so there are no "
                "words to look for: ask invlib.identify about guidance, steps and schedulers"
            )
        if vocabulary is None:
            return whole
        tokens = [whole.ids(word) for word in vocabulary]
        long = [repr(w) for w, ids in zip(vocabulary, tokens, strict=True) if len(ids) != 1]
        if long or not tokens:
            raise ValueError(
                f"vocabulary: words of one token are needed, not {', '.join(long) or 'none'}"
            )
        return cls(name, tokenizer, whole.embed, tuple(sorted({ids[0] for ids in tokens})))

    @property
    def table(self) -> Tensor:
        """The embeddings of all tokens, float64 ``[V, C]``."""
        return self.embed.weight.detach().double()

    def ids(self, text: str) -> list[int]:
        """The tokens of a text, without those of its beginning and end."""
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def words_of(self, ids: Sequence[int]) -> Iterator[str]:
        """The texts of those tokens that are words: alone, their text is this token again."""
        special = set(self.tokenizer.all_special_ids)
        for token in ids:
            word = self.tokenizer.decode([token]).strip()
            if token not in special and word and self.ids(word) == [token]:
                yield word

    def nearest(self, start: Tensor, embedding: Tensor, count: int) -> list[tuple[str, ...]]:
        r"""The words that lie in the direction of moves from a start, the nearest first.

        .. math:: \max_k\ \cos(r_k - s,\ e - s)

        over the rows :math:`r_k` of the table. A few steps do not reach a word, and what is nearest
        to where they end is mostly nearest to where they began; for :math:`s = 0` it is that.

        Args:
            start: s, ``[N, C]``.
            embedding: e, ``[N, C]``.
            count: how many for each of them.
        """
        own = range(len(self.table)) if self.allowed is None else self.allowed
        rows = self.table[list(own)]
        found = []
        for s, e in zip(start.to(rows), embedding.to(rows), strict=True):
            cosines = torch.nn.functional.cosine_similarity(rows - s, (e - s)[None], dim=1)
            order = cosines.argsort(descending=True).tolist()
            words = self.words_of([own[k] for k in order])
            found.append(tuple(word for _, word in zip(range(count), words, strict=False)))
        return found


@dataclass(frozen=True)
class Wording:
    """A prompt of so many tokens, each of which has an embedding that may change.

    Attributes:
        lexicon: of its text encoder.
        ids: the tokens that stand for them.
        start: where the embeddings begin, float64 ``[N, C]``: those of the start's tokens, and that
            of the token that fills up short prompts for those that it lacks. So where the
            pipeline fills up prompts, they begin as the start itself.
    """

    lexicon: Lexicon
    ids: tuple[int, ...]
    start: Tensor

    @classmethod
    def of(cls, lexicon: Lexicon, start: str, words: int) -> Wording:
        """That of a start, filled up to a number of words."""
        own = lexicon.ids(start)
        every = range(lexicon.table.shape[0])
        filler = next(t for w in lexicon.words_of(every) if w.isalpha() for t in lexicon.ids(w))
        missing = max(0, words - len(own))
        empty = lexicon.tokenizer.pad_token_id
        whole = lexicon.table[[*own, *[filler if empty is None else empty] * missing]]
        return cls(lexicon, (*own, *[filler] * missing), whole)

    @property
    def text(self) -> str:
        """A prompt with these tokens."""
        return str(self.lexicon.tokenizer.decode(list(self.ids)))

    def conditions(self, embedding: Tensor, network: PipelineNetwork) -> dict[Path, Tensor]:
        """What the network is given for other embeddings, where that depends on them.

        Args:
            embedding: ``[N, C]``.
            network: the network of a call with the prompt ``text``.

        Raises:
            ValueError: if nothing depends on them.
        """
        noted: dict[Path, Any] = {}
        stage = network.stage

        def module(name: str, owner: Any, real: Any, args: Any, kwargs: Any) -> Any:
            if name in stage.recording.inner:
                noted.update(_flatten((args, kwargs)))
                raise Stop
            return real(*args, **kwargs)

        def replaced(owner: Any, args: Any, output: Tensor) -> Tensor:
            changed = output.clone()
            for row, tokens in enumerate(args[0].tolist()):
                for at in range(len(tokens) - len(self.ids) + 1):
                    if tokens[at : at + len(self.ids)] == list(self.ids):
                        changed[row, at : at + len(self.ids)] = embedding.to(output)
                        break
            return changed

        hook = self.lexicon.embed.register_forward_hook(replaced)
        try:
            with torch.enable_grad():
                run(stage.pipe, stage.call, Hands(module=module))
        finally:
            hook.remove()
        found = {path: noted[path] for path in conditions(network) if path in noted}
        found = {path: value for path, value in found.items() if value.requires_grad}
        if not found:
            raise ValueError(
                f"{len(self.ids)} words of {self.lexicon.encoder} do not reach the network: look "
                "for fewer words, or leave prompt_embeds out of the call"
            )
        return found
