r"""Bytes of an inversion, as formulas.

N steps, D numbers in a state, K pairs: a state takes :math:`8 D` bytes, being float64.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass

from ..inverters import exact
from ..inverters.rounds import COPIES, most_pairs

STATE = 8  # bytes of a number of a state
MEMORY: int = inspect.signature(exact).parameters["memory"].default  # pairs of a node


def trajectory_bytes(steps: int, numbers: int) -> int:
    r"""All states from noise to image: :math:`8 (N + 1) D`.

    Args:
        steps: N.
        numbers: D.
    """
    return STATE * (steps + 1) * numbers


def pair_bytes(steps: int, numbers: int, width: int = STATE) -> int:
    r"""A secant pair, one difference of states and one of outputs at each node: :math:`2 w N D`.

    Args:
        steps: N.
        numbers: D.
        width: w, the bytes of a number.
    """
    return (COPIES - 1) * width * steps * numbers


@dataclass(frozen=True)
class Pairs:
    """The most pairs that a search keeps.

    Attributes:
        count: K, how many; each is about all nodes.
        width: bytes of a number: 8, or 4 where memory is short.
    """

    count: int
    width: int

    def bytes(self, steps: int, numbers: int) -> int:
        r"""All pairs at rest: :math:`2 w K N D`.

        Args:
            steps: N.
            numbers: D.
        """
        return self.count * pair_bytes(steps, numbers, self.width)


def pairs_at_most(steps: int, numbers: int, free: float | None = None) -> Pairs:
    """The most pairs that the default search keeps of one sample; see
    :func:`invlib.inverters.rounds.most_pairs`.

    Args:
        steps: N.
        numbers: D.
        free: the memory that is free when the search begins, in bytes; None for plenty.
    """
    count, dtype = most_pairs(MEMORY, steps, steps * numbers, free)
    return Pairs(count, dtype.itemsize)


def inversion_bytes(weights: int, activations: int, steps: int, numbers: int, pairs: Pairs) -> int:
    r"""The most memory of an inversion once all its pairs are there.

    .. math:: \text{weights} + 8 (N + 1) D + 2 w K N D
              + \max(\text{activations},\ w K N D)

    The last term: the copy of the states is made when the network is at rest. Left out are the
    best states, the last outputs and a few more of the size of a trajectory, and the system of a
    step, :math:`(K N)^2` numbers a few times (32 MB each).

    Args:
        weights: bytes of the network.
        activations: bytes of one evaluation beyond them.
        steps: N.
        numbers: D.
        pairs: K and w.
    """
    held = pairs.bytes(steps, numbers)
    copy = held // (COPIES - 1)
    return weights + trajectory_bytes(steps, numbers) + held + max(activations, copy)


def reading(steps: int) -> int:
    r"""Evaluations of reading a call: :math:`2 N + 10`.

    N in the run that is recorded, N + 1 to see that the network gives the recorded outputs again,
    9 for its round-off; 3 in half precision.

    Args:
        steps: N.
    """
    return 2 * steps + 10
