"""The first noise values of many seeds at once, as PyTorch's generator on the CPU draws them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

WORDS, FAR = 624, 397  # words of a state, and the distance between two that are mixed
BLOCK = 16  # values that torch.randn makes together
AT_ONCE = 19  # blocks of 32 words that fit into one state
HEAD = 3  # 64-bit numbers before the words in the state of a torch.Generator
BITS = 0xFFFFFFFF
LIKE = {torch.float32: 1, torch.float64: 2, torch.float16: 1, torch.bfloat16: 1}


def states(seeds: np.ndarray, wanted: Sequence[int] = range(WORDS)) -> np.ndarray:
    r"""Words of MT19937's state after seeding, uint32 ``[wanted, seeds]``.

    .. math:: s_0 = \text{seed} \bmod 2^{32}, \quad
              s_i = 1812433253\,(s_{i-1} \oplus (s_{i-1} \gg 30)) + i \bmod 2^{32}

    PyTorch seeds with the low 32 bits only: seeds that differ by :math:`2^{32}` are one.

    Source: M. Matsumoto, T. Nishimura, "Mersenne Twister", ACM TOMACS 8 (1998), in the version of
    2002.

    Args:
        seeds: the seeds, uint64 ``[seeds]``.
        wanted: which words, rising.
    """
    out = np.empty((len(wanted), len(seeds)), np.uint32)
    word = (seeds & np.uint64(BITS)).astype(np.uint32)
    shifted, places = np.empty_like(word), {row: place for place, row in enumerate(wanted)}
    for i in range(wanted[-1] + 1):
        if i:
            np.right_shift(word, 30, out=shifted)
            word ^= shifted
            word *= np.uint32(1812433253)
            word += np.uint32(i)
        if i in places:
            out[places[i]] = word
    return out


def mixed(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The part of the recurrence that takes one bit of ``low`` and 31 of ``high``."""
    y = (low & np.uint32(0x80000000)) | (high & np.uint32(0x7FFFFFFF))
    return (y >> 1) ^ ((high & 1) * np.uint32(0x9908B0DF))


def twisted(state: np.ndarray) -> np.ndarray:
    r"""The next 624 words, uint32 ``[624, seeds]``.

    .. math:: s'_i = s_{i+397} \oplus f(s_i, s_{i+1})

    where an index of 624 and more is one of the words that are already new.
    """
    new, gap = np.empty_like(state), WORDS - FAR
    for start in range(0, WORDS - 1, gap):
        end = min(start + gap, WORDS - 1)
        far = state[start + FAR : end + FAR] if start == 0 else new[start - gap : end - gap]
        new[start:end] = far ^ mixed(state[start:end], state[start + 1 : end + 1])
    new[-1] = new[FAR - 1] ^ mixed(state[-1], new[0])
    return new


def words(seeds: np.ndarray, start: int, count: int) -> np.ndarray:
    """Words ``start`` ... ``start + count - 1`` of every seed, before they are tempered.

    The first 227 cost 397 steps of the seeding and one mixture each; later ones whole states.

    Returns:
        uint32 ``[count, seeds]``.
    """
    if start + count <= WORDS - FAR:
        near = range(start, start + count + 1)
        state = states(seeds, [*near, *(FAR + i for i in near)])
        return state[count + 1 : -1] ^ mixed(state[:count], state[1 : count + 1])
    state, parts = states(seeds), []
    for first in range(0, start + count, WORDS):
        state = twisted(state)
        parts.append(state[max(0, start - first) : max(0, start + count - first)])
    return np.concatenate(parts)


class Normals:
    """The Gaussian values that PyTorch makes of given words.

    A generator is given these words as its state, so that the values are those of ``torch.randn``
    to the last bit, whatever instructions it uses on this machine.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype, self.generator = dtype, torch.Generator()
        self.state = self.generator.manual_seed(0).get_state().clone()
        whole = self.state.numpy().view(np.uint64)
        whole[1] = WORDS + (1 << 32)  # words left, and that it is seeded
        whole[2] = 0  # the next word
        self.words = whole[HEAD : HEAD + WORDS]
        self.out = torch.empty(AT_ONCE * 2 * BLOCK // LIKE[dtype], dtype=dtype)

    def __call__(self, flat: np.ndarray) -> Tensor:
        """The values of a multiple of 608 words, ``[n]``."""
        size, drawn = AT_ONCE * 2 * BLOCK, []
        for part in flat.reshape(-1, size):
            self.words[:size] = part
            self.generator.set_state(self.state)
            torch.randn(self.out.shape, generator=self.generator, out=self.out)
            drawn.append(self.out.clone())
        return torch.cat(drawn)


def normals(seeds: np.ndarray, start: int, count: int, dtype: torch.dtype) -> Tensor:
    r"""Values ``start`` ... of ``torch.randn`` for every seed, as it makes 16 and more.

    .. math:: x_j = \sqrt{-2\ln(1-u_j)}\,\cos 2\pi u_{j+8}, \quad
              x_{j+8} = \sqrt{-2\ln(1-u_j)}\,\sin 2\pi u_{j+8}, \quad j = 0 \dots 7

    in every block of 16 uniform numbers u of 24 bits each (53 for float64, of two words).

    Args:
        seeds: the seeds, uint64 ``[seeds]``.
        start: first value, a multiple of 16.
        count: how many values, a multiple of 16.
        dtype: floating point type that was drawn in.

    Returns:
        ``[seeds, count]``.
    """
    each = LIKE[dtype]
    raw = words(seeds, each * start, each * count).T
    size = AT_ONCE * 2 * BLOCK
    flat = np.zeros(-(-raw.size // size) * size, np.uint32)
    flat[: raw.size] = raw.ravel()
    return Normals(dtype)(flat)[: len(seeds) * count].view(len(seeds), count)
