r"""Denoisers: functions that predict the noise in a state, and exact ones to test against.

A denoiser is any callable ``(x, t) -> epsilon`` with ``x`` of shape ``[B, ...]`` (float64) and
``t`` of shape ``[B]``. A network that predicts something else says so in its attribute
``prediction`` (see :func:`predicting`), and samplers convert. One that carries a condition per
row also has ``select(rows) -> Denoiser``, so that an inverter may call it on some rows, or on
several time points of every row at once.

With :math:`x = \alpha x_0 + \sigma\epsilon` a prediction is one of

============  =========================================================================
epsilon       the noise :math:`\epsilon`
sample        the data :math:`x_0`
v_prediction  :math:`v = \alpha\epsilon - \sigma x_0`
flow          the velocity :math:`\epsilon - x_0` of flow matching
edm           :math:`-v`, the raw network of Karras et al. (data over ``sigma_data``)
reverse_flow  :math:`x_0 - \epsilon`
============  =========================================================================
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, Protocol, TypeVar, cast, get_args, runtime_checkable

import torch
from torch import Tensor

from .schedule import Levels
from .shapes import column

Denoiser = Callable[[Tensor, Tensor], Tensor]
Network = Callable[[Tensor, Tensor, Tensor], Tensor]
Prediction = Literal["epsilon", "v_prediction", "sample", "flow", "edm", "reverse_flow"]


@runtime_checkable
class Selectable(Protocol):
    """A denoiser whose rows have their own conditions."""

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """The prediction at states ``x [B, ...]`` and times ``t [B]``."""
        ...

    def select(self, rows: Tensor) -> Denoiser:
        """The same denoiser on the given rows of its conditions."""
        ...


@runtime_checkable
class Nodal(Protocol):
    """A denoiser that is known at the nodes of one solver only, such as a pipeline's loop."""

    def at(self, y: Tensor, nodes: Tensor) -> Tensor:
        """The prediction at states ``y [k, ...]`` of nodes ``[k]``, one row each."""
        ...


def select(denoiser: Denoiser, rows: Tensor) -> Denoiser:
    """The denoiser of the given rows (indices into its conditions, repeats allowed)."""
    return denoiser.select(rows) if isinstance(denoiser, Selectable) else denoiser


T = TypeVar("T")


def in_float64(part: T) -> T:
    """A copy of a denoiser that computes in float64, at twice the memory of one in float32.

    Networks are copied and converted, wherever they stand in dataclasses such as
    :class:`Guided`, and so are conditions, in dictionaries too. Anything else, such as a function
    that you wrote, stays as it is, unless it has a method ``in_float64`` of its own.
    """
    found: Any = part
    if hasattr(part, "in_float64"):
        found = part.in_float64()
    elif isinstance(part, torch.nn.Module):
        found = copy.deepcopy(part).double()
    elif isinstance(part, Tensor) and part.is_floating_point():
        found = part.double()
    elif isinstance(part, Mapping):
        found = {name: in_float64(value) for name, value in part.items()}
    elif is_dataclass(part) and not isinstance(part, type):
        known = {f.name: getattr(part, f.name) for f in fields(part) if f.init}
        found = replace(part, **{name: in_float64(value) for name, value in known.items()})
    return cast(T, found)


@dataclass(frozen=True)
class Guided:
    r"""Classifier-free guidance in one batched network call.

    .. math:: \epsilon_w(x, t) = \epsilon(x, t, \varnothing)
              + w\,\bigl(\epsilon(x, t, c) - \epsilon(x, t, \varnothing)\bigr)

    Attributes:
        network: ``(x, t, condition) -> prediction``.
        condition: one condition per row, ``[B, ...]``.
        null: the empty condition (or negative prompt), ``[1, ...]``, or one per row.
        scale: guidance scale w; 1 makes a single, conditional call.
        prediction: what the network predicts; guidance is the same formula for all kinds.
    """

    network: Network
    condition: Tensor
    null: Tensor
    scale: float
    prediction: Prediction = "epsilon"

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """The guided prediction at states ``x [B, ...]``."""
        if len(self.condition) != len(x):
            raise ValueError(
                f"{len(x)} rows but {len(self.condition)} conditions; give one condition per row"
            )
        if self.scale == 1:
            return self.network(x, t, self.condition)
        null = self.null.expand_as(self.condition)
        both = self.network(torch.cat([x, x]), torch.cat([t, t]), torch.cat([self.condition, null]))
        conditional, unconditional = both.chunk(2)
        return unconditional + self.scale * (conditional - unconditional)

    def select(self, rows: Tensor) -> Guided:
        """The same guidance with the conditions of ``rows``."""
        null = self.null if len(self.null) == 1 else self.null[rows]
        return replace(self, condition=self.condition[rows], null=null)


def guided(
    network: Network,
    condition: Tensor,
    null: Tensor,
    scale: float,
    *,
    prediction: Prediction | None = None,
) -> Guided:
    """Classifier-free guidance of ``network``; see :class:`Guided`.

    Args:
        network: ``(x, t, condition) -> prediction``.
        condition: one condition per row, ``[B, ...]``.
        null: the empty condition (or negative prompt), ``[1, ...]``, or one per row.
        scale: guidance scale.
        prediction: what the network predicts; by default what it says itself, or the noise.

    Raises:
        ValueError: if the scale is below 1 or not finite, or the shapes do not fit.
    """
    if not 1 <= scale < float("inf"):
        raise ValueError(f"guidance scale must be a finite number >= 1, got {scale}")
    if null.shape[1:] != condition.shape[1:] or len(null) not in (1, len(condition)):
        raise ValueError(
            f"null has shape {tuple(null.shape)}; give one row, or one for each of the "
            f"conditions {tuple(condition.shape)}"
        )
    kind: Prediction = getattr(network, "prediction", "epsilon")
    if prediction is not None:
        kind = prediction
    _check_prediction(kind)
    return Guided(network, condition, null, float(scale), kind)


@dataclass(frozen=True)
class Predicting:
    """A plain network together with what it predicts."""

    network: Denoiser
    prediction: Prediction

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """The network's own prediction."""
        return self.network(x, t)

    def select(self, rows: Tensor) -> Predicting:
        """The same network on the selected rows."""
        return replace(self, network=select(self.network, rows))


def predicting(network: Denoiser, prediction: Prediction) -> Predicting:
    """Say that a network predicts the noise, v, the data or a flow velocity.

    Raises:
        ValueError: if the prediction type is unknown.
    """
    _check_prediction(prediction)
    return Predicting(network, prediction)


def convert(
    output: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor, source: Prediction, target: Prediction
) -> Tensor:
    r"""Rewrite a prediction at state x as another kind of prediction.

    .. math:: x = \alpha x_0 + \sigma\epsilon, \quad m = p\,x_0 + q\,\epsilon \;\Rightarrow\;
              x_0 = \frac{q x - \sigma m}{\alpha q - \sigma p}, \quad
              \epsilon = \frac{\alpha m - p x}{\alpha q - \sigma p}

    Args:
        output: prediction of kind ``source``, ``[B, ...]``.
        x: state, ``[B, ...]``.
        alpha: signal level of each row, ``[B]``.
        sigma: noise level of each row, ``[B]``.
        source: kind of the given prediction.
        target: kind of the wanted prediction.
    """
    if source == target:
        return output
    alpha, sigma = column(alpha, x), column(sigma, x)
    p, q = parts(source, alpha, sigma)
    new_p, new_q = parts(target, alpha, sigma)
    scale = 1 / (alpha * q - sigma * p)
    return scale * ((new_p * q - new_q * p) * x + (new_q * alpha - new_p * sigma) * output)


def parts(prediction: Prediction, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """What a prediction is made of: its weights p of the data and q of the noise."""
    zero, one = torch.zeros_like(alpha), torch.ones_like(alpha)
    return {
        "epsilon": (zero, one),
        "sample": (one, zero),
        "v_prediction": (-sigma, alpha),
        "flow": (-one, one),
        "edm": (sigma, -alpha),
        "reverse_flow": (one, -one),
    }[prediction]


def _check_prediction(prediction: str) -> None:
    if prediction not in get_args(Prediction):
        raise ValueError(
            f"unknown prediction {prediction!r}; use one of {', '.join(get_args(Prediction))}"
        )


@dataclass(frozen=True)
class Mixture:
    r"""The exact denoiser of an isotropic Gaussian mixture with a common variance.

    .. math:: D(x, t) = \sum_k p_k(x) \Bigl(\mu_k
              + \tfrac{\alpha s^2}{\alpha^2 s^2 + \sigma^2}(x - \alpha\mu_k)\Bigr),
              \quad p_k(x) \propto w_k
              e^{-\|x - \alpha\mu_k\|^2 / 2(\alpha^2 s^2 + \sigma^2)}

    With ``std=0`` and the means a data set it is that data set's ideal denoiser. Called with
    classes it uses only the components of each row's class (-1: all), so that
    ``guided(mixture, classes, torch.tensor([-1]), w)`` is classifier-free guidance.

    Attributes:
        schedule: the noise schedule.
        means: centres, ``[K, ...]``.
        std: standard deviation s of every component.
        labels: class of each component, ``[K]``; by default all are of class 0.
        weights: positive weights, ``[K]``; equal by default.
        prediction: what to return: the noise, or another kind.
    """

    schedule: Levels
    means: Tensor
    std: float
    labels: Tensor | None = None
    weights: Tensor | None = None
    prediction: Prediction = "epsilon"

    def __call__(self, x: Tensor, t: Tensor, classes: Tensor | None = None) -> Tensor:
        """The exact prediction at states ``x [B, ...]``, of classes ``[B]`` if given."""
        alpha, sigma = self.schedule.alpha_t(t)[:, None], self.schedule.sigma_t(t)[:, None]
        flat, means = x.flatten(1), self.means.flatten(1).to(x)
        variance = alpha**2 * self.std**2 + sigma**2
        square = ((flat[:, None] - alpha[:, :, None] * means) ** 2).sum(-1)
        logits = -square / (2 * variance)
        if self.weights is not None:
            logits = logits + self.weights.to(x).log()
        if classes is not None:
            labels = torch.zeros(len(means)) if self.labels is None else self.labels
            allowed = (classes[:, None] == labels.to(x.device)) | (classes[:, None] < 0)
            logits = logits.masked_fill(~allowed, -torch.inf)
        mean = torch.softmax(logits, 1) @ means
        rest = (flat - alpha * mean) / variance
        p, q = parts(self.prediction, alpha, sigma)
        return (p * (mean + alpha * self.std**2 * rest) + q * sigma * rest).view_as(x)


def gaussian(schedule: Levels, mean: Tensor, std: float) -> Mixture:
    """The exact denoiser of one Gaussian with centre ``mean [...]``."""
    return Mixture(schedule, mean[None], std)


def ideal(schedule: Levels, data: Tensor) -> Mixture:
    """The ideal denoiser of the data set ``data [K, ...]``: a mixture of points."""
    return Mixture(schedule, data, 0.0)
