"""Adam with decoupled weight decay, for samples that stop one by one."""

from __future__ import annotations

import torch
from torch import Tensor


class Adam:
    r"""Adam's moments, for all samples of a batch.

    .. math:: m \leftarrow .9\,m + .1\,g, \quad v \leftarrow .999\,v + .001\,g^2, \quad
              x \leftarrow (1 - \eta w)\,x - \eta\,\frac{\hat m}{\sqrt{\hat v} + 10^{-8}}

    Source: Kingma and Ba, ICLR 2015; Loshchilov and Hutter, ICLR 2019.
    """

    def __init__(self, x: Tensor, rate: float, *, decay: float = 0.0) -> None:
        self.rate, self.decay, self.steps = rate, decay, 0
        self.first, self.second = torch.zeros_like(x), torch.zeros_like(x)

    def step(self, x: Tensor, gradient: Tensor, rows: Tensor) -> Tensor:
        """The next x of the samples ``rows [k]``, none of which has missed a step."""
        self.steps += 1
        self.first[rows] = 0.9 * self.first[rows] + 0.1 * gradient
        self.second[rows] = 0.999 * self.second[rows] + 0.001 * gradient.square()
        first = self.first[rows] / (1 - 0.9**self.steps)
        second = self.second[rows] / (1 - 0.999**self.steps)
        return (1 - self.rate * self.decay) * x - self.rate * first / (second.sqrt() + 1e-8)
