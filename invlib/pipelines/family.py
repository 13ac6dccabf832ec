"""What an inversion has to know about a class of pipelines; the base is a latent text model."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from ..autoencoder import Autoencoder
from ..denoisers import Denoiser, guided
from ..probing import NotInvertible, from_scheduler, network_prediction
from ..solvers import Solver
from .network import Conditioned
from .settings import Settings, check_prompts, check_scale

Prompts = tuple[tuple[Any, ...] | None, tuple[str, ...] | None]  # and the negative ones
Size = tuple[int, int]  # height and width in pixels


class Family:
    """How one class of pipelines calls its network, told by a set of functions without state."""

    network = "unet"  # the pipeline's attribute
    decodes = True  # whether the sampler runs on latents
    takes_noise = True  # whether the call has the argument latents; else it scales no noise
    lowest_scale = 1.0  # guidance scales below it are not used by the pipeline
    remedy = "DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)"

    def module(self, pipe: Any) -> Any:
        """The network that predicts."""
        return getattr(pipe, self.network)

    def channels(self, pipe: Any) -> int:
        """Colour channels of the pictures."""
        return cast(int, pipe.vae.config.out_channels)

    def factor(self, pipe: Any) -> int:
        """Pixels per latent, in height and in width."""
        return cast(int, 2 ** (len(pipe.vae.config.block_out_channels) - 1))

    def check_size(self, pipe: Any, height: int, width: int) -> None:
        """Refuse sizes that the pipeline cannot make.

        Raises:
            ValueError: if height or width is not divisible by what the pipeline needs.
        """
        multiple = self.multiple(pipe)
        if height % multiple or width % multiple:
            raise ValueError(
                f"the image is {height} x {width} (height x width), but {type(pipe).__name__} "
                f"makes sizes divisible by {multiple}; give the image as the pipeline made it"
            )

    def multiple(self, pipe: Any) -> int:
        """Heights and widths are multiples of this."""
        return math.lcm(8, self.factor(pipe))

    def pack(self, pipe: Any, latents: Tensor) -> Tensor:
        """Latents ``[B, c, h, w]`` in the layout that the sampler runs on."""
        wanted = self.module(pipe).config.in_channels
        if latents.ndim != 4 or latents.shape[1] != wanted:
            raise ValueError(
                f"latents have shape {tuple(latents.shape)}, but {type(pipe).__name__} runs on "
                f"[B, {wanted}, h, w]; give what it returns for output_type='latent'"
            )
        return latents

    def size(self, pipe: Any, latents: Tensor, height: int | None, width: int | None) -> Size:
        """Height and width of the pictures of latents.

        Raises:
            ValueError: if another height or width was given.
        """
        own = self.factor(pipe) * latents.shape[-2], self.factor(pipe) * latents.shape[-1]
        if (height or own[0], width or own[1]) != own:
            raise ValueError(f"these latents make pictures of {own[0]} x {own[1]} only")
        return own

    def prompts(self, pipe: Any, prompt: Any, negative: Any, images: int) -> Prompts:
        """The prompt and the negative prompt of every image.

        Raises:
            TypeError: if they are no texts.
            ValueError: if their number does not fit.
        """
        negative = None if negative is None else check_prompts(negative, images, "negative_prompt")
        return check_prompts("" if prompt is None else prompt, images, "prompt"), negative

    def scale(self, pipe: Any, scale: float | None) -> float | None:
        """The guidance scale, the pipeline's own where none was given.

        Raises:
            TypeError: if it is no number.
            ValueError: if the pipeline would not use it.
        """
        if scale is None:
            scale = inspect.signature(pipe.__call__).parameters["guidance_scale"].default
        return check_scale(scale, self.lowest_scale, type(pipe).__name__)

    def tokenizers(self, pipe: Any) -> list[tuple[Any, int]]:
        """The tokenizers of prompts, each with the number of tokens after which it cuts."""
        return [(pipe.tokenizer, pipe.tokenizer.model_max_length)]

    def guides(self, pipe: Any, settings: Settings) -> bool:
        """Whether the pipeline calls the network with negative prompts, too."""
        distilled = self.module(pipe).config.get("time_cond_proj_dim") is not None
        return (settings.guidance_scale or 1) > 1 and not distilled

    def encode(self, pipe: Any, settings: Settings, guides: bool) -> dict[str, Any]:
        """Arguments of the network, rows of the prompts first, then of the negative ones."""
        raise NotImplementedError

    def conditioned(self, pipe: Any, settings: Settings, guides: bool) -> Conditioned:
        """The network with its arguments."""
        rows = self.encode(pipe, settings, guides)
        return Conditioned(self.module(pipe), network_prediction(pipe.scheduler), rows)

    def denoiser(self, pipe: Any, settings: Settings) -> Denoiser:
        """The denoiser, guided as the pipeline guides."""
        guides = self.guides(pipe, settings)
        with torch.no_grad():
            network = self.conditioned(pipe, settings, guides)
        images = len(settings.prompt or ())
        rows = torch.arange(2 * images, device=pipe._execution_device)
        scale = settings.guidance_scale if guides and settings.guidance_scale else 1.0
        return guided(network, rows[:images], rows[images:], scale)

    def set_timesteps(self, pipe: Any, settings: Settings) -> Callable[..., None]:
        """What the pipeline does to its scheduler before it starts."""
        return lambda scheduler, steps: scheduler.set_timesteps(steps)

    def solver(self, pipe: Any, settings: Settings) -> Solver:
        """The table of the pipeline's own scheduler.

        Raises:
            NotInvertible: if the scheduler is stochastic or not affine, or the pipeline does not
                start it as it must be.
        """
        start = self.set_timesteps(pipe, settings)
        steps = settings.num_inference_steps
        try:
            solver = from_scheduler(pipe.scheduler, steps, set_timesteps=start)
        except NotInvertible as error:
            advice = "give the pipeline a deterministic scheduler, e.g. pipe.scheduler ="
            raise NotInvertible(f"{error}; {advice} {self.remedy}") from error
        if not self.takes_noise and float(getattr(pipe.scheduler, "init_noise_sigma", 1)) != 1:
            raise NotInvertible(
                f"{type(pipe).__name__} does not scale the noise as "
                f"{type(pipe.scheduler).__name__} needs it; give it DDIMScheduler or "
                "DPMSolverMultistepScheduler"
            )
        return solver

    def autoencoder(self, pipe: Any) -> Autoencoder:
        """The autoencoder as the pipeline uses it."""
        kind = type(pipe.vae).__name__
        if kind in ("AutoencoderTiny", "ConsistencyDecoderVAE"):
            raise ValueError(f"the decoder {kind} is not supported; give the pipeline's latents")
        return Autoencoder(pipe.vae, pipe.vae.config.scaling_factor)

    def call(self, settings: Settings) -> dict[str, Any]:
        """Arguments of the stock call that makes the picture again."""
        arguments: dict[str, Any] = {
            "prompt": list(settings.prompt or ()),
            "guidance_scale": settings.guidance_scale,
            "num_inference_steps": settings.num_inference_steps,
            "height": settings.height,
            "width": settings.width,
        }
        if settings.negative_prompt is not None:
            arguments["negative_prompt"] = list(settings.negative_prompt)
        return arguments

    def notes(self, pipe: Any, settings: Settings) -> list[str]:
        """What else a reader of the result should know."""
        return []
