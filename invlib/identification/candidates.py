"""What may have made a picture: every combination of what is asked about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .space import Phrases


@dataclass(frozen=True)
class Candidate:
    """A way to call a pipeline; None where nothing is asked about that argument.

    Attributes:
        prompt: the prompt.
        guidance_scale: the guidance scale.
        num_inference_steps: the number of steps.
        scheduler: the name of a scheduler.
    """

    prompt: str | None = None
    guidance_scale: float | None = None
    num_inference_steps: int | None = None
    scheduler: str | None = None

    @property
    def name(self) -> str:
        """What tells it from other candidates."""
        parts = [] if self.prompt is None else [repr(self.prompt)]
        parts += [] if self.guidance_scale is None else [f"guidance {self.guidance_scale:g}"]
        parts += [] if self.num_inference_steps is None else [f"{self.num_inference_steps} steps"]
        parts += [] if self.scheduler is None else [self.scheduler]
        return ", ".join(parts) or "the call"

    def changes(self, schedulers: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of the call that it changes, and its scheduler."""
        asked = {
            "prompt": self.prompt,
            "guidance_scale": self.guidance_scale,
            "num_inference_steps": self.num_inference_steps,
            "scheduler": None if self.scheduler is None else schedulers[self.scheduler],
        }
        return {name: value for name, value in asked.items() if value is not None}


ASKED = {
    "guidance": "guidance_scale",
    "steps": "num_inference_steps",
    "schedulers": "scheduler",
}


def axes_of(
    prompts: Sequence[str] | Phrases | None, **lists: Sequence[Any] | None
) -> tuple[dict[str, Sequence[Any]], Callable[[Mapping[str, Any]], Candidate]]:
    """The lists of what is asked about, by name, and the candidate of one value of each.

    Args:
        prompts: prompts, or the attributes of prompts.
        lists: guidance, steps and schedulers; None where nothing is asked.

    Raises:
        TypeError: if something is no list, such as a set, whose order is not known.
        ValueError: if a list is empty, or a text stands for a list.
    """
    axes: dict[str, Sequence[Any]] = {
        ASKED[name]: values for name, values in lists.items() if values is not None
    }
    phrases = prompts if isinstance(prompts, Phrases) else None
    if phrases is not None:
        axes |= phrases.attributes
    if not isinstance(prompts, Phrases | None):
        axes["prompt"] = prompts
    for name, values in axes.items():
        lacks = not all(hasattr(values, needed) for needed in ("__len__", "__getitem__"))
        if lacks or isinstance(values, Mapping):
            raise TypeError(f"{name}: give a list of candidates, not a {type(values).__name__}")
        if isinstance(values, str) or not len(values):
            raise ValueError(f"{name}: give a list of one candidate at least, not {values!r}")

    def make(at: Mapping[str, Any]) -> Candidate:
        own = {name: at[name] for name in (*ASKED.values(), "prompt") if name in at}
        if phrases is not None:
            own["prompt"] = phrases.write({name: at[name] for name in phrases.attributes})
        return Candidate(**own)

    return axes, make


def by_name(pipe: Any, schedulers: Mapping[str, Any] | Sequence[Any] | None) -> dict[str, Any]:
    """Schedulers by their names; those that are classes of diffusers are made of the pipeline's.

    Args:
        pipe: the pipeline; a class, or the name of one, is made with its scheduler's configuration,
            without clipping where the pipeline has latents.
        schedulers: schedulers, classes or names, by names of their own or by those of the classes.

    Raises:
        ValueError: if there is no such scheduler, or two have one name.
    """
    given = [] if schedulers is None else schedulers
    if not isinstance(given, Mapping):
        names = [
            s if isinstance(s, str) else getattr(s, "__name__", type(s).__name__) for s in given
        ]
        if len(set(names)) < len(names):
            raise ValueError("two schedulers have one name: give a dictionary with names for them")
        given = dict(zip(names, given, strict=True))
    return {name: _made(pipe, value) for name, value in given.items()}


def _made(pipe: Any, scheduler: Any) -> Any:
    """A scheduler of a name, a class, or itself."""
    if isinstance(scheduler, str):
        import diffusers

        found = getattr(diffusers, scheduler, None)
        if not (isinstance(found, type) and hasattr(found, "from_config")):
            raise ValueError(f"diffusers has no scheduler {scheduler!r}")
        scheduler = found
    if not isinstance(scheduler, type):
        return scheduler
    fixed = {"clip_sample": False} if hasattr(pipe, "vae") else {}
    return scheduler.from_config(pipe.scheduler.config, **fixed)  # type: ignore[attr-defined]
