"""Arguments that the calls of many pipelines share."""

from __future__ import annotations

from .unet_parts import mask, picture

SIZE = {"height": 16, "width": 16}
STEPS = {"num_inference_steps": 6}
GUIDANCE = {"guidance_scale": 3.0}
TEXT = {"prompt": "red cat", **GUIDANCE, **STEPS}
"""Text alone, where a class takes no size, or takes it from a picture."""
SIZED = {**TEXT, **SIZE}
IMAGE = {**TEXT, "image": picture(), "strength": 0.8}
"""A picture to change."""
MASKED = {**SIZED, "image": picture(), "mask_image": mask(), "strength": 1.0}
"""A picture to paint in."""
CONTROLLED = {**SIZED, "image": picture()}
"""A picture as a control."""
