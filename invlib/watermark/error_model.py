"""The error of recovered noises as it was measured: pairs of noises, known and recovered."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..whole import whole
from .ratios import Group
from .transfer import TAUS, Belief, Transfer, fit_transfer, most_likely
from .tree_ring import spectrum

TEMPERS = torch.linspace(0.05, 1.0, 20, dtype=torch.float64)
TRIED = 4  # keys of a group that each calibration picture is given in turn
STANDARD = 16  # deviates of the theory that count beside the measured ones
KIND = "invlib error model 1"


@dataclass(frozen=True)
class Sureness:
    """How sure one may be of likelihood ratios and of deviates.

    Attributes:
        power: of the likelihood ratios.
        spread: root mean square of the deviates of noise without the key; 1 in theory, and where
            the deviates are those of a bound.
    """

    power: float
    spread: float


@dataclass(frozen=True)
class ErrorModel:
    """What is known of the errors of noises that are recovered in one way.

    Attributes:
        noise: noises of the calibration pictures, ``[n, C, H, W]``.
        recovered: what was recovered of each, after every passage: a name such as ``JPEG 75``.
        made: how: the settings, to be read by people.
        call: what they were measured for, as :func:`invlib.watermark.same_call.told` names it;
            empty if that is not known.
    """

    noise: Tensor
    recovered: Mapping[str, Tensor]
    made: str = ""
    call: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.recovered:
            raise ValueError("an error model needs the recovered noises of one passage or more")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the noise."""
        c, h, w = self.noise.shape[1:]
        return c, h, w

    @cached_property
    def transfers(self) -> dict[str, Transfer]:
        """Gain and error after each passage."""
        return {name: fit_transfer(self.noise, y) for name, y in self.recovered.items()}

    def beliefs(self, views: Mapping[str, Tensor]) -> tuple[Tensor, list[list[Belief]]]:
        r"""What pictures say of their noise, under every passage and scale of the error.

        Args:
            views: what was recovered of the pictures, ``[B, C, H, W]``, for every passage.

        Returns:
            Log-probabilities of the passages and scales, ``[B, A T]``, and for every passage the
            beliefs at every scale.
        """
        weights, beliefs = [], []
        for name, y in views.items():
            transfer = self.transfers[name]
            weights.append(transfer.log_prior + transfer.evidence(y))
            beliefs.append([transfer.believe(y, tau) for tau in TAUS])
        return torch.cat(weights, 1).log_softmax(1), beliefs

    def sureness(self, group: Group, seed: int = 0) -> dict[str, Sureness]:
        r"""The power of the likelihood ratios after each passage at which posteriors are right.

        The errors at different frequencies are not independent, and not quite normal; ratios that
        take them so are too sure. The calibration pictures show by how much: new noises, without a
        key and with one, are put in the place of theirs, with the error that they had,

        .. math:: Y' = Y + G (X' - X),

        and the power :math:`\beta` of all ratios is the one of least log-loss for no key and each
        of up to four keys. So is the spread of the deviates where there is no key; a bound of the
        p-value holds as it is.

        Args:
            group: the keys.
            seed: which of the keys are tried.
        """
        count = len(group.index)
        draw = torch.Generator().manual_seed(seed)
        tried = group.some(torch.randperm(count, generator=draw)[:TRIED].tolist())
        few = len(tried.index)
        found = {}
        fresh = torch.randn(self.noise.shape, generator=draw, dtype=torch.float64)
        for name, y in self.recovered.items():
            transfer = self.transfers[name]
            rows, truth = [], []
            for j in range(-1, few):
                some = slice(None) if j < 0 else slice(j, None, few)
                put = fresh[some] if j < 0 else tried.write(fresh[some], j)
                rows.append(transfer.moved(y[some], spectrum(put - self.noise[some].double())))
                truth += [j] * len(put)
            both = torch.cat(rows)
            log_w, [beliefs] = self.beliefs({name: both})
            ratios = torch.stack([tried.log_ratios(b) for b in beliefs], 1)
            told = torch.tensor(truth)
            loss = torch.stack([_log_loss(log_w, b * ratios, told) for b in TEMPERS])
            likely = most_likely(log_w[: len(fresh)], beliefs)
            spread = 1.0 if tried.bounded else _spread(tried.deviates(likely))
            found[name] = Sureness(float(TEMPERS[loss.argmin()]), spread)
        return found

    def save(self, path: str | Path) -> None:
        """Write the model to a safetensors file, whole or not at all.

        Raises:
            OSError: if the file cannot be written.
        """
        names = list(self.recovered)
        tensors = {str(i): y.float().contiguous() for i, y in enumerate(self.recovered.values())}
        about = {"kind": KIND, "passages": json.dumps(names), "made": self.made}
        about |= {"call": json.dumps(dict(self.call))}
        with whole(path) as part:
            save_file({"noise": self.noise.float().contiguous(), **tensors}, part, about)

    @classmethod
    def load(cls, path: str | Path) -> ErrorModel:
        """Read a model that was saved.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is none.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no file {path}")
        try:
            with safe_open(str(path), "pt") as file:
                about = file.metadata() or {}
                if about.get("kind") != KIND:
                    raise ValueError(f"{path} is no error model: measure one again")
                names = [str(name) for name in json.loads(about["passages"])]
                recovered = {name: file.get_tensor(str(i)) for i, name in enumerate(names)}
                call = json.loads(about.get("call", "{}"))  # older files do not say it
                found = cls(file.get_tensor("noise"), recovered, about["made"], _checked(call))
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged or no safetensors file ({error})") from error
        except (KeyError, TypeError, RecursionError, json.JSONDecodeError) as error:
            raise ValueError(f"the metadata of {path} are damaged ({error})") from error
        if problem := _unfit(found):
            raise ValueError(f"{path} is damaged: {problem}")
        return found


def _checked(call: Any) -> dict[str, str]:
    """What a file says of a call, if it is words by names."""
    if not isinstance(call, dict) or not all(isinstance(value, str) for value in call.values()):
        raise TypeError("the call must be words by their names")
    return call


def _spread(deviates: Tensor) -> float:
    """Root mean square of deviates, drawn towards 1 as far as so few do not tell it."""
    return math.sqrt((deviates.square().sum() + STANDARD) / (deviates.numel() + STANDARD))


def _unfit(model: ErrorModel) -> str:
    """Why the tensors of a model cannot be pairs of noises, or nothing."""
    for value in (model.noise, *model.recovered.values()):
        if value.ndim != 4 or not value.numel() or value.shape != model.noise.shape:
            return f"noises of shape {tuple(model.noise.shape)} beside {tuple(value.shape)}"
        if not value.is_floating_point() or not torch.isfinite(value).all():
            return "it contains what is no finite number"
    return ""


def joined(models: Sequence[ErrorModel]) -> ErrorModel:
    """One model of the pictures of several that were made in the same way.

    Raises:
        ValueError: if their passages or their calls differ.
    """
    names = list(models[0].recovered)
    if any(list(m.recovered) != names for m in models):
        raise ValueError("the passages of error models that are joined must be the same")
    if any(m.call != models[0].call for m in models):
        raise ValueError("error models that are joined must be those of one call")
    together = {n: torch.cat([m.recovered[n] for m in models]) for n in names}
    return ErrorModel(
        torch.cat([m.noise for m in models]), together, models[0].made, models[0].call
    )


def _log_loss(log_w: Tensor, ratios: Tensor, truth: Tensor) -> Tensor:
    """Mean log-loss of the posterior, half of whose prior is on no key.

    Args:
        log_w: weights of the T scales, ``[S, T]``.
        ratios: log-ratios, ``[S, T, K]``.
        truth: the key of each row, -1 for none.
    """
    keys = (
        torch.logsumexp(log_w[:, :, None] + ratios, 1) - torch.tensor(float(ratios.shape[2])).log()
    )
    scores = torch.cat([keys.new_zeros(len(keys), 1), keys], 1).log_softmax(1)
    none = truth < 0
    own = scores.gather(1, truth[:, None] + 1)[:, 0]
    return -(own[none].mean() + own[~none].mean())
