"""DDPM and DDIM pipelines: an unconditional UNet on pixels."""

from __future__ import annotations

from typing import Any, cast

from ..denoisers import Denoiser
from ..probing import network_prediction
from .family import Family, Prompts
from .settings import Settings
from .unet import UNet


class Pixels(Family):
    """DDPMPipeline and DDIMPipeline, which draw their own noise."""

    decodes = False
    takes_noise = False

    def channels(self, pipe: Any) -> int:
        """Colour channels of the pictures."""
        return cast(int, pipe.unet.config.in_channels)

    def factor(self, pipe: Any) -> int:
        """A pixel is a pixel."""
        return 1

    def check_size(self, pipe: Any, height: int, width: int) -> None:
        """Only the network's own size can be made.

        Raises:
            ValueError: if it is another size.
        """
        check_own_size(pipe, pipe.unet.config.sample_size, height, width)

    def prompts(self, pipe: Any, prompt: Any, negative: Any, images: int) -> Prompts:
        """None.

        Raises:
            ValueError: if there is a prompt.
        """
        if prompt is not None or negative is not None:
            raise ValueError(f"{type(pipe).__name__} is unconditional: leave the prompts out")
        return None, None

    def scale(self, pipe: Any, scale: float | None) -> float | None:
        """None.

        Raises:
            ValueError: if there is a scale.
        """
        if scale is not None:
            raise ValueError(f"{type(pipe).__name__} is unconditional: leave guidance_scale out")
        return None

    def tokenizers(self, pipe: Any) -> list[tuple[Any, int]]:
        """None."""
        return []

    def denoiser(self, pipe: Any, settings: Settings) -> Denoiser:
        """The network.

        Raises:
            ValueError: if it predicts variances, too.
        """
        config = pipe.unet.config
        if config.out_channels != config.in_channels:
            raise ValueError(
                f"the UNet has {config.in_channels} channels in and {config.out_channels} out; "
                "networks that predict variances are not supported"
            )
        return UNet(pipe.unet, network_prediction(pipe.scheduler))


def check_own_size(pipe: Any, size: Any, height: int, width: int) -> None:
    """Refuse any size but the network's own, a number or (height, width).

    Raises:
        ValueError: if it is another one.
    """
    own = (size, size) if isinstance(size, int) else tuple(size)
    if (height, width) != own:
        raise ValueError(
            f"the image is {height} x {width} (height x width), but {type(pipe).__name__} makes "
            f"{own[0]} x {own[1]} only; give the image as the pipeline made it"
        )
