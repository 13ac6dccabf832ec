"""The error of recovered noises as it was measured: pairs of noises, known and recovered."""

from __future__ import annotations

import json
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
from .transfer import Belief, Transfer, fit_transfer, left_out

KIND = "invlib error model 1"


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

    @cached_property
    def left_out(self) -> dict[str, tuple[tuple[Tensor, Transfer], ...]]:
        """The same without some of the pictures, with which ones, so that each is left out once."""
        return {name: left_out(self.noise, y) for name, y in self.recovered.items()}

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
            beliefs.append(transfer.believe_all(y))
        return torch.cat(weights, 1).log_softmax(1), beliefs

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
