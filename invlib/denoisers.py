r"""Denoisers: networks that say what they predict, and exact ones to test against.

A denoiser is anything that is called ``(x, t)`` with states ``x [B, ...]`` (float64) and times
``t [B]`` and says what it returns by an attribute ``prediction``: see :class:`Denoiser`. A plain
function says nothing, so it is asked for: ``predicting(function, "epsilon")``. Samplers convert.

With :math:`x = \alpha x_0 + \sigma\epsilon` a prediction is one of

============  =========================================================================
epsilon       the noise :math:`\epsilon`
sample        the data :math:`x_0`
v_prediction  :math:`v = \alpha\epsilon - \sigma x_0`
score         the score :math:`\nabla\log p_t(x) = -\epsilon/\sigma`
flow          the velocity :math:`\epsilon - x_0` of flow matching
edm           :math:`-v`, the raw network of Karras et al. (data over ``sigma_data``)
reverse_flow  :math:`x_0 - \epsilon`
============  =========================================================================

What else a denoiser may have: ``select`` (:class:`Selectable`), ``condition``
(:class:`Conditional`), ``at`` (:class:`Nodal`), ``roundoff`` (:class:`Measured`), ``network``
(:class:`Wrapping`), derivatives that are differences (:class:`Differences`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, Protocol, TypeVar, cast, get_args, runtime_checkable

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .schedule import Levels
from .shapes import column

T = TypeVar("T")
Call = TypeVar("Call", bound=Callable[..., Tensor])
Function = Callable[[Tensor, Tensor], Tensor]
Network = Callable[[Tensor, Tensor, Tensor], Tensor]
Prediction = Literal["epsilon", "v_prediction", "sample", "flow", "edm", "reverse_flow", "score"]


REMEDY = (
    'wrap it: invlib.bridged(network, prediction="epsilon"), or what it does predict, takes '
    "arrays and has derivatives by differences"
)
IN_PLACE = (
    "the network changes its input in place, and so the sampler's own states: write x = s * x for "
    "x *= s in it, or hand it a copy: predicting(lambda x, t: network(x.clone(), t), kind)"
)
OUTSIDE = f"this network leaves PyTorch, so it has no derivative; {REMEDY}"


@runtime_checkable
class Denoiser(Protocol):
    """A network as the library calls it; everything else about it is optional."""

    @property
    def prediction(self) -> Prediction:
        """What it returns; see the table of :mod:`invlib.denoisers`."""
        ...

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """The prediction at states ``x [B, ...]`` and times ``t [B]``, ``[B, ...]``."""
        ...


@runtime_checkable
class Selectable(Protocol):
    """A denoiser whose rows have their own conditions.

    An inverter may so call it on some rows, or on several time points of every row at once.
    """

    def select(self, rows: Tensor) -> Denoiser:
        """The same denoiser on the given rows of its conditions, repeats allowed."""
        ...


@runtime_checkable
class Conditional(Protocol):
    """A denoiser with one condition a row, so that it takes batches of that many rows."""

    @property
    def condition(self) -> Tensor:
        """The conditions, ``[B, ...]``."""
        ...


@runtime_checkable
class Nodal(Protocol):
    """A denoiser that is known at the nodes of one solver only, such as a pipeline's loop."""

    @property
    def nodewise(self) -> bool:
        """Whether one node costs one evaluation, and not a run of the whole loop."""
        ...

    @property
    def any_time(self) -> bool:
        """Whether it can be evaluated at times between the nodes, too."""
        ...

    def at(self, y: Tensor, nodes: Tensor) -> Tensor:
        """The prediction at states ``y [k, ...]`` of nodes ``[k]``, one row each."""
        ...


@runtime_checkable
class OwnLoop(Protocol):
    """A denoiser that belongs to a loop, and can run it."""

    def select(self, rows: Tensor) -> OwnLoop:
        """The same denoiser on the given rows."""
        ...

    def sampled(self, y: Tensor, solver: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Sample on from first states: states and outputs ``[k, N, ...]``, and the end."""
        ...


@runtime_checkable
class Precise(Protocol):
    """A denoiser that says in which dtype it computes."""

    @property
    def dtype(self) -> torch.dtype:
        """The network's dtype."""
        ...


@runtime_checkable
class Measured(Protocol):
    """A denoiser whose round-off was measured when it was made."""

    @property
    def roundoff(self) -> float | None:
        """Relative round-off of an output; None if it was not measured."""
        ...


@runtime_checkable
class Wrapping(Protocol):
    """A denoiser around another function; the library's own wrappers are such."""

    @property
    def network(self) -> object:
        """What is inside."""
        ...


@runtime_checkable
class Differences(Protocol):
    """A network without a derivative of its own: products with its Jacobian are differences.

    It has no reverse mode. See :func:`invlib.bridged`.
    """

    @property
    def difference_error(self) -> float:
        """Relative error of a product, to expect."""
        ...


def prediction_of(
    denoiser: object, *, remedy: str = 'wrap it: invlib.predicting(network, "epsilon")'
) -> Prediction:
    """What a denoiser says that it predicts.

    Raises:
        ValueError: if it does not say (then with the remedy), or says something unknown.
    """
    try:
        kind = cast(Denoiser, denoiser).prediction
    except AttributeError as error:
        raise ValueError(
            f"{_name(denoiser)} does not say what it predicts; {remedy}, or what it does predict "
            f"({', '.join(get_args(Prediction))})"
        ) from error
    check_prediction(kind)
    return kind


def select(denoiser: Call, rows: Tensor) -> Call:
    """The denoiser of the given rows (indices into its conditions, repeats allowed)."""
    return cast(Call, denoiser.select(rows)) if isinstance(denoiser, Selectable) else denoiser


def check_rows(denoiser: Denoiser, x: Tensor, name: str) -> None:
    """Refuse a batch ``x [B, ...]`` that has not as many rows as the denoiser has conditions.

    Raises:
        ValueError: with both numbers.
    """
    for part in layers(denoiser):
        if isinstance(part, Conditional) and len(part.condition) != len(x):
            raise ValueError(
                f"{len(x)} rows of {name} but {len(part.condition)} conditions; give one "
                "condition per row"
            )


def layers(denoiser: object) -> Iterator[object]:
    """A denoiser, the network inside it, the network inside that one, and so on."""
    part: object | None = denoiser
    while part is not None:
        yield part
        part = part.network if isinstance(part, Wrapping) else None


def dtype_of(denoiser: object) -> torch.dtype | None:
    """The dtype that a denoiser, or a network inside it, says that it computes in, or None.

    A module without a ``dtype`` of its own has that of its first floating-point parameter.
    """
    for part in layers(denoiser):
        if isinstance(part, Precise):
            return part.dtype
        if isinstance(part, torch.nn.Module):
            found = [p.dtype for p in part.parameters() if p.is_floating_point()]
            if found:
                return found[0]
    return None


def roundoff_of(denoiser: object) -> float | None:
    """The relative round-off that a denoiser, or one inside it, has measured, or None."""
    measured = (part.roundoff for part in layers(denoiser) if isinstance(part, Measured))
    return next((value for value in measured if value is not None), None)


def nodewise(denoiser: object) -> bool:
    """Whether one node costs one evaluation, and not a run of a pipeline's whole loop."""
    return denoiser.nodewise if isinstance(denoiser, Nodal) else True


def own_loop(denoiser: object) -> OwnLoop | None:
    """The denoiser, if a sampler can only run in its own loop, since it may remember."""
    return denoiser if isinstance(denoiser, OwnLoop) and not nodewise(denoiser) else None


def any_time(denoiser: object) -> bool:
    """Whether a denoiser can be evaluated at times between the nodes of a solver."""
    return denoiser.any_time if isinstance(denoiser, Nodal) else True


def differences(denoiser: object) -> Differences | None:
    """The part of a denoiser whose derivatives are differences, or None: they are exact."""
    return next((part for part in layers(denoiser) if isinstance(part, Differences)), None)


def jvp_cost(denoiser: object) -> int:
    """Evaluations that a Jacobian-vector product is worth: 2, or 3 if it is a difference."""
    return 2 if differences(denoiser) is None else 3


def untouched(function: Callable[[Tensor], T], x: Tensor) -> T:
    """A function of x that may not change x; it gets a copy where no change would be seen.

    Raises:
        ValueError: if it does change x.
    """
    if x.is_inference():
        return function(x.clone())
    before = x._version
    result = function(x)
    if x._version != before:
        raise ValueError(IN_PLACE)
    return result


def evaluated(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A network at x; refused if it is no PyTorch or a derivative got lost outside PyTorch.

    A tangent is lost silently where a network takes its input to NumPy. An output without one is
    right for a network that does not depend on x: then it stays the same where x changes.

    Raises:
        TypeError: if the output is no tensor.
        ValueError: if the network changes x.
        NotImplementedError: if a derivative is asked of what leaves PyTorch; with the remedy.
    """
    try:
        output = untouched(function, x)
    except RuntimeError as error:
        if "storage" in str(error):  # PyTorch's word for NumPy on a tensor of torch.func
            raise NotImplementedError(OUTSIDE) from error
        raise
    if not isinstance(output, Tensor):
        raise TypeError(f"the network returned a {type(output).__name__}, no tensor; {REMEDY}")
    plain, tangent = forward_ad.unpack_dual(x)
    if tangent is None or forward_ad.unpack_dual(output).tangent is not None:
        return output
    if not torch.equal(function(plain.detach() + 0.5), output):
        raise NotImplementedError(OUTSIDE)
    return output


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
    prediction: Prediction

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
        prediction: what the network predicts; by default what it says itself.

    Raises:
        ValueError: if the scale is below 1 or not finite, the shapes do not fit, or nothing says
            what the network predicts.
    """
    if not 1 <= scale < float("inf"):
        raise ValueError(f"guidance scale must be a finite number >= 1, got {scale}")
    if null.shape[1:] != condition.shape[1:] or len(null) not in (1, len(condition)):
        raise ValueError(
            f"null has shape {tuple(null.shape)}; give one row, or one for each of the "
            f"conditions {tuple(condition.shape)}"
        )
    if prediction is None:
        prediction = prediction_of(network, remedy='give guided(..., prediction="epsilon")')
    check_prediction(prediction)
    return Guided(network, condition, null, float(scale), prediction)


@dataclass(frozen=True)
class Predicting:
    """A plain function together with what it predicts, and its round-off if that is known."""

    network: Function
    prediction: Prediction
    roundoff: float | None = None

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """The function's own prediction."""
        return self.network(x, t)

    def select(self, rows: Tensor) -> Predicting:
        """The same function on the selected rows."""
        return replace(self, network=select(self.network, rows))

    def in_float64(self) -> Predicting:
        """Its network in float64, of which nothing has been said."""
        return replace(self, network=in_float64(self.network), roundoff=None)


def predicting(
    network: Function, prediction: Prediction, *, roundoff: float | None = None
) -> Predicting:
    """Say what a function ``(x, t) -> [B, ...]`` predicts, which makes a denoiser of it.

    Args:
        network: the function; states ``[B, ...]`` are float64, times ``[B]``.
        prediction: a kind from the table of :mod:`invlib.denoisers`.
        roundoff: relative round-off of its outputs, if you know it; by default it is measured.

    Raises:
        ValueError: if the prediction type is unknown, or the round-off not between 0 and 1.

    Example:
        >>> network = predicting(lambda x, t: 0.1 * x, "epsilon")
        >>> network(torch.ones(2, 3), torch.zeros(2)).shape
        torch.Size([2, 3])
    """
    check_prediction(prediction)
    if roundoff is not None and not 0 < roundoff < 1:
        raise ValueError(f"a relative round-off is between 0 and 1, such as 6e-8, not {roundoff}")
    return Predicting(network, prediction, roundoff)


def convert(
    output: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor, source: Prediction, target: Prediction
) -> Tensor:
    r"""Rewrite a prediction at state x as another kind of prediction.

    .. math:: x = \alpha x_0 + \sigma\epsilon, \quad m = p\,x_0 + q\,\epsilon \;\Rightarrow\;
              x_0 = \frac{q x - \sigma m}{\alpha q - \sigma p}, \quad
              \epsilon = \frac{\alpha m - p x}{\alpha q - \sigma p}

    A score is taken as the noise :math:`\epsilon = -\sigma m` that it stands for.

    Args:
        output: prediction of kind ``source``, ``[B, ...]``.
        x: state, ``[B, ...]``.
        alpha: signal level of each row, ``[B]``.
        sigma: noise level of each row, ``[B]``.
        source: kind of the given prediction.
        target: kind of the wanted prediction; a score is infinite where sigma is 0.
    """
    if source == target:
        return output
    if source == "score":
        return convert(-column(sigma, x) * output, x, alpha, sigma, "epsilon", target)
    if target == "score":
        return convert(output, x, alpha, sigma, source, "epsilon") / -column(sigma, x)
    alpha, sigma = column(alpha, x), column(sigma, x)
    p, q = parts(source, alpha, sigma)
    new_p, new_q = parts(target, alpha, sigma)
    scale = 1 / (alpha * q - sigma * p)
    return scale * ((new_p * q - new_q * p) * x + (new_q * alpha - new_p * sigma) * output)


def parts(prediction: Prediction, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    r"""What a prediction is made of: its weights p of the data and q of the noise.

    That of a score, :math:`q = -1/\sigma`, is infinite where there is no noise.
    """
    zero, one = torch.zeros_like(alpha), torch.ones_like(alpha)
    return {
        "epsilon": (zero, one),
        "sample": (one, zero),
        "v_prediction": (-sigma, alpha),
        "flow": (-one, one),
        "edm": (sigma, -alpha),
        "reverse_flow": (one, -one),
        "score": (zero, -1 / sigma),
    }[prediction]


def silent_without_noise(prediction: Prediction) -> bool:
    """Whether a prediction tells nothing of the noise where there is none (sigma = 0)."""
    return prediction in ("sample", "score")


def _name(network: object) -> str:
    return getattr(network, "__name__", type(network).__name__)


def check_prediction(prediction: str) -> None:
    """Refuse an unknown kind of prediction.

    Raises:
        ValueError: with those that are known.
    """
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
        if self.prediction == "score":  # finite without noise, too
            return (-rest).view_as(x)
        p, q = parts(self.prediction, alpha, sigma)
        return (p * (mean + alpha * self.std**2 * rest) + q * sigma * rest).view_as(x)


def gaussian(schedule: Levels, mean: Tensor, std: float) -> Mixture:
    """The exact denoiser of one Gaussian with centre ``mean [...]``."""
    return Mixture(schedule, mean[None], std)


def ideal(schedule: Levels, data: Tensor) -> Mixture:
    """The ideal denoiser of the data set ``data [K, ...]``: a mixture of points."""
    return Mixture(schedule, data, 0.0)
