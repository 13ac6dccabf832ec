"""Watch a method at work: what it asks the network, call by call."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor

from ...denoisers import Denoiser, Prediction, prediction_of, select


@dataclass(frozen=True)
class Call:
    """One call of the network.

    Attributes:
        x: the states that it was asked about, ``[k, ...]``.
        t: the time label of the first of them.
    """

    x: Tensor
    t: float


@dataclass(frozen=True)
class Watched:
    """A denoiser that notes its calls.

    Attributes:
        network: the denoiser.
        calls: its calls so far, the first one first.
    """

    network: Denoiser
    calls: list[Call] = field(default_factory=list)

    @property
    def prediction(self) -> Prediction:
        """What the denoiser predicts."""
        return prediction_of(self.network)

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """The prediction at states ``x [k, ...]``; the call is noted."""
        self.calls.append(Call(x.clone(), t[0].item()))
        return self.network(x, t)

    def select(self, rows: Tensor) -> Watched:
        """The same denoiser on some rows; its calls are noted here, too."""
        return replace(self, network=select(self.network, rows))


def labelled(calls: list[Call], t: float) -> list[Tensor]:
    """The states of all calls with time label ``t``, in their order."""
    return [call.x for call in calls if call.t == t]
