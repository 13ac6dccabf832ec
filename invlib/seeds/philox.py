"""The noise that PyTorch draws on a CUDA device, of many seeds at once, computed without one.

The generator agrees with published vectors of Random123 and with published values of
``torch.randn``; here it has not been compared with a device.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
KEYS = np.uint32(0x9E3779B9), np.uint32(0xBB67AE85)
ROUNDS, LOW = 10, np.uint64(0xFFFFFFFF)
STEP = np.float32(2**-32)
THREADS = 256  # in a block of PyTorch's kernel


def philox(counter: np.ndarray, key: np.ndarray) -> np.ndarray:
    r"""Philox4x32-10: four random words of a counter and a key.

    .. math:: (c_0, c_1, c_2, c_3) \leftarrow
              (\mathrm{hi}(M_1 c_2) \oplus c_1 \oplus k_0,\ \mathrm{lo}(M_1 c_2),\
               \mathrm{hi}(M_0 c_0) \oplus c_3 \oplus k_1,\ \mathrm{lo}(M_0 c_0))

    ten times, with :math:`k \leftarrow k + (W_0, W_1)` in between.

    Source: J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3",
    SC11.

    Args:
        counter: uint32 ``[4, ...]``.
        key: uint32 ``[2, ...]``.

    Returns:
        uint32 ``[4, ...]``.
    """
    c, k = list(counter), list(key)
    for turn in range(ROUNDS):
        if turn:
            k = [part + step for part, step in zip(k, KEYS, strict=True)]
        first, second = c[0] * MULTIPLIERS[0], c[2] * MULTIPLIERS[1]
        high = [(product >> np.uint64(32)).astype(np.uint32) for product in (first, second)]
        low = [(product & LOW).astype(np.uint32) for product in (first, second)]
        c = [high[1] ^ c[1] ^ k[0], low[1], high[0] ^ c[3] ^ k[1], low[0]]
    return np.stack(np.broadcast_arrays(*c))


def normals(
    seeds: np.ndarray, start: int, count: int, *, numel: int, threads: int | None = None
) -> Tensor:
    r"""Values ``start`` ... of ``torch.randn`` on a CUDA device for every seed.

    Thread g of G draws Philox words of the counter (r, g), r = 0, 1, ... and makes four values of
    them, which are the elements :math:`g + G (4 r + i)`, i = 0 ... 3:

    .. math:: x = \sqrt{-2\ln u}\,(\sin v, \cos v), \quad u = 2^{-32} w_0 + 2^{-33}, \quad
              v = 2\pi\,(2^{-32} w_1 + 2^{-33})

    and the same of :math:`w_2, w_3`. Where the draw has no more elements than the device has
    threads, every element is the first value of its own thread, on every device.

    Args:
        seeds: the seeds, uint64 ``[seeds]``.
        start: first value.
        count: how many values.
        numel: elements of the whole draw.
        threads: threads of the device (multiprocessors times threads of each), if the draw has
            more elements than that; None if it has not.

    Returns:
        float32 ``[seeds, count]``.
    """
    grid = -(-numel // THREADS) * THREADS
    if threads is not None:
        grid = min(grid, threads // THREADS * THREADS)
    element = np.arange(start, start + count)
    thread, turn = element % grid, element // grid
    counter = np.stack([turn // 4, np.zeros_like(turn), thread, np.zeros_like(turn)])
    key = np.stack([seeds & LOW, seeds >> np.uint64(32)]).astype(np.uint32)
    words = philox(counter.astype(np.uint32)[:, None, :], key[:, :, None])
    pair = (turn % 4) // 2
    first, second = (np.where(pair == 0, words[j], words[j + 2]) for j in (0, 1))
    u, v = (word.astype(np.float32) * STEP + STEP / 2 for word in (first, second))
    v *= np.float32(2 * math.pi)
    wave = np.sin(v) if (turn % 2 == 0).all() else np.where(turn % 2 == 0, np.sin(v), np.cos(v))
    return torch.from_numpy(np.sqrt(np.float32(-2) * np.log(u)) * wave)
