"""Small parts of video and audio pipelines, and a way to put a pipeline together from them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import diffusers
import numpy as np
import PIL.Image
import torch
import transformers
from torch import Tensor

from .audio_parts import (
    ace_step_conditions,
    audio_projection,
    durations,
    edm_dpm,
    longcat_vae,
    ltx2_audio_vae,
    ltx2_connectors,
    oobleck,
    same,
    vocoder,
)
from .parts import WIDTH, clip, clip_tokenizer, dpm, t5, t5_tokenizer, vae
from .video_networks import LATENT, NETWORKS, network

TOKENS = 6  # of prompts given as embeddings


def embeddings(seed: int, *, tokens: int = TOKENS, width: int = WIDTH) -> Tensor:
    """A prompt as random embeddings, for pipelines whose prompt cleaning needs more packages."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, tokens, width, dtype=torch.float64, generator=generator)


def uniform(*shape: int) -> Tensor:
    """Reproducible random numbers between 0 and 1."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def picture(height: int, width: int, seed: int = 0) -> PIL.Image.Image:
    """A picture of random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PIL.Image.fromarray(pixels)


def frames(number: int, height: int, width: int) -> list[PIL.Image.Image]:
    """A clip of random pixels."""
    return [picture(height, width, seed) for seed in range(number)]


def words() -> Any:
    """The tokenizer of words, for prompts of up to eight."""
    tokenizer = t5_tokenizer()
    tokenizer.model_max_length = 8
    return tokenizer


def long_clip() -> Any:
    """A CLIP text encoder for the 77 tokens that some pipelines insist on."""
    config = clip().config
    config.max_position_embeddings = 77
    return transformers.CLIPTextModel(config)


def umt5() -> Any:
    """A UMT5 encoder of one layer."""
    config = transformers.UMT5Config(
        vocab_size=9, d_model=WIDTH, d_kv=8, num_heads=2, d_ff=WIDTH, num_layers=1
    )
    return transformers.UMT5EncoderModel(config)


def llama() -> Any:
    """A Llama of three layers; pipelines read the first."""
    config = transformers.LlamaConfig(
        vocab_size=9,
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=3,
        num_attention_heads=2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=1,
    )
    return transformers.LlamaModel(config)


def wan_vae(**options: Any) -> Any:
    """The autoencoder of Wan: 8 x 8 pixels and 4 frames a latent."""
    channels = options.get("z_dim", LATENT)
    return diffusers.AutoencoderKLWan(
        **{
            "base_dim": 4,
            "z_dim": channels,
            "dim_mult": [1, 1, 1, 1],
            "num_res_blocks": 1,
            "temperal_downsample": [False, True, True],
            "latents_mean": [0.1] * channels,
            "latents_std": [2.0] * channels,
            **options,
        }
    )


def ltx_vae() -> Any:
    """The autoencoder of LTX: 8 x 8 pixels and 4 frames a latent."""
    return diffusers.AutoencoderKLLTXVideo(
        latent_channels=LATENT,
        block_out_channels=(8, 8, 8),
        down_block_types=("LTXVideoDownBlock3D",) * 3,
        decoder_block_out_channels=(8, 8, 8),
        layers_per_block=(1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False),
        decoder_spatio_temporal_scaling=(True, True, False),
        decoder_inject_noise=(False,) * 4,
        downsample_type=("conv",) * 3,
        upsample_residual=(False,) * 3,
        upsample_factor=(1,) * 3,
        patch_size=2,
    )


def ltx2_vae() -> Any:
    """The autoencoder of LTX-2: 32 x 32 pixels and 8 frames a latent."""
    return diffusers.AutoencoderKLLTX2Video(
        latent_channels=LATENT,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        layers_per_block=(1,) * 5,
        decoder_layers_per_block=(1,) * 4,
        upsample_residual=(False,) * 3,
        upsample_factor=(1,) * 3,
        decoder_spatial_padding_mode="zeros",
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )


def cogvideox_vae() -> Any:
    """The autoencoder of CogVideoX: 8 x 8 pixels and 4 frames a latent."""
    return diffusers.AutoencoderKLCogVideoX(
        block_out_channels=(8,) * 4,
        latent_channels=LATENT,
        layers_per_block=1,
        norm_num_groups=2,
        sample_height=16,
        sample_width=16,
    )


def hunyuan_vae(channels: int = LATENT) -> Any:
    """The autoencoder of HunyuanVideo: 8 x 8 pixels and 4 frames a latent."""
    return diffusers.AutoencoderKLHunyuanVideo(
        latent_channels=channels,
        block_out_channels=(8,) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        mid_block_add_attention=False,
    )


def mochi_vae() -> Any:
    """The autoencoder of Mochi: 8 x 8 pixels and 6 frames a latent; 12 channels are fixed."""
    return diffusers.AutoencoderKLMochi(
        encoder_block_out_channels=(32,) * 4,
        decoder_block_out_channels=(32,) * 4,
        layers_per_block=(1,) * 5,
        add_attention_block=(False,) * 5,
    )


def hunyuan15_vae() -> Any:
    """The autoencoder of HunyuanVideo 1.5: 4 x 4 pixels and 4 frames a latent."""
    return diffusers.AutoencoderKLHunyuanVideo15(
        latent_channels=LATENT,
        block_out_channels=(8, 8, 8),
        layers_per_block=1,
        spatial_compression_ratio=4,
    )


def allegro_vae() -> Any:
    """The autoencoder of Allegro: 8 x 8 pixels and 4 frames a latent."""
    autoencoder = diffusers.AutoencoderKLAllegro(
        block_out_channels=(8,) * 4,
        latent_channels=LATENT,
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=16,
    )
    autoencoder.enable_tiling()  # it knows no other way
    autoencoder.kernel, autoencoder.stride = (8, 16, 16), (4, 8, 8)
    return autoencoder


def magvit() -> Any:
    """The autoencoder of EasyAnimate: 8 x 8 pixels and 4 frames a latent."""
    return diffusers.AutoencoderKLMagvit(
        latent_channels=LATENT,
        block_out_channels=[8] * 4,
        layers_per_block=1,
        norm_num_groups=4,
    )


def cosmos_vae() -> Any:
    """The autoencoder of Cosmos: 8 x 8 pixels and 8 frames a latent."""
    return diffusers.AutoencoderKLCosmos(
        latent_channels=LATENT,
        encoder_block_out_channels=(8,) * 4,
        decode_block_out_channels=(8,) * 4,
        attention_resolutions=(4,),
        resolution=16,
        num_layers=1,
        latents_mean=None,
        latents_std=None,
    )


class NoSafetyChecker:
    """Stands in for Cosmos's safety checker, which needs another package: all passes."""

    def to(self, device: Any) -> NoSafetyChecker:
        """The same on any device."""
        return self

    def check_text_safety(self, text: str) -> bool:
        """Whether the prompt passes."""
        return True

    def check_video_safety(self, video: Any) -> Any:
        """The video, unchanged."""
        return video


def clip_vision() -> Any:
    """A CLIP encoder of pictures of 8 x 8 pixels."""
    config = transformers.CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=8,
        patch_size=4,
    )
    return transformers.CLIPVisionModel(config)


def picture_processor() -> Any:
    """CLIP's preparation of pictures, to 8 x 8 pixels."""
    return transformers.CLIPImageProcessorPil(size={"shortest_edge": 8}, crop_size=8)


def siglip() -> Any:
    """A SigLIP encoder of pictures of 8 x 8 pixels."""
    config = transformers.SiglipVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=8,
        patch_size=4,
    )
    return transformers.SiglipVisionModel(config)


def siglip_processor() -> Any:
    """SigLIP's preparation of pictures, to 8 x 8 pixels."""
    return transformers.SiglipImageProcessorPil(size={"height": 8, "width": 8})


def guider() -> Any:
    """Classifier-free guidance as a part of the pipeline."""
    return diffusers.ClassifierFreeGuidance(guidance_scale=5.0)


def flow_dpm() -> Any:
    """DPM-Solver++(2M) as Sana uses it, on a shifted straight path."""
    return diffusers.DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )


def edm_euler() -> Any:
    """Euler's method on the noise levels of Cosmos."""
    return diffusers.EDMEulerScheduler(
        sigma_min=0.002, sigma_max=80, sigma_data=0.5, final_sigmas_type="sigma_min"
    )


def flow_unipc() -> Any:
    """UniPC as Wan uses it, on a shifted straight path."""
    return diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )


def cogvideox_ddim() -> Any:
    """DDIM as CogVideoX uses it, from pure noise on."""
    return diffusers.CogVideoXDDIMScheduler(
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    )


PARTS: dict[str, Callable[[], Any]] = {
    "AutoTokenizer": words,
    "AutoencoderKL": vae,
    "AutoencoderKLAllegro": allegro_vae,
    "AutoencoderKLCosmos": cosmos_vae,
    "AutoencoderKLHunyuanVideo15": hunyuan15_vae,
    "AutoencoderKLMagvit": magvit,
    "ClassifierFreeGuidance": guider,
    "DPMSolverMultistepScheduler": flow_dpm,
    "EDMEulerScheduler": edm_euler,
    "SiglipVisionModel": siglip,
    "SiglipImageProcessor": siglip_processor,
    "SiglipImageProcessorPil": siglip_processor,
    "AutoencoderKLCogVideoX": cogvideox_vae,
    "AutoencoderKLHunyuanVideo": hunyuan_vae,
    "AutoencoderKLLTXVideo": ltx_vae,
    "AutoencoderKLMochi": mochi_vae,
    "AutoencoderKLWan": wan_vae,
    "AutoencoderOobleck": oobleck,
    "CLIPTextModel": long_clip,
    "CLIPTokenizer": clip_tokenizer,
    "CLIPVisionModel": clip_vision,
    "CLIPImageProcessor": picture_processor,
    "CLIPImageProcessorPil": picture_processor,
    "CogVideoXDDIMScheduler": cogvideox_ddim,
    "EDMDPMSolverMultistepScheduler": edm_dpm,
    "FlowMatchEulerDiscreteScheduler": diffusers.FlowMatchEulerDiscreteScheduler,
    "KarrasDiffusionSchedulers": dpm,
    "LlamaModel": llama,
    "LlamaTokenizer": words,
    "StableAudioProjectionModel": audio_projection,
    "T5EncoderModel": t5,
    "T5Tokenizer": words,
    "T5TokenizerFast": words,
    "UMT5EncoderModel": umt5,
    "UniPCMultistepScheduler": flow_unipc,
    "BaseGuidance": guider,
    "FlowMapEulerDiscreteScheduler": diffusers.FlowMapEulerDiscreteScheduler,
    "HeliosScheduler": diffusers.HeliosScheduler,
    "SchedulerMixin": diffusers.FlowMatchEulerDiscreteScheduler,
    "AceStepConditionEncoder": ace_step_conditions,
    "AutoencoderKLLTX2Audio": ltx2_audio_vae,
    "AutoencoderKLLTX2Video": ltx2_vae,
    "AutoencoderSAME": same,
    "LTX2TextConnectors": ltx2_connectors,
    "LTX2Vocoder": vocoder,
    "LongCatAudioDiTVae": longcat_vae,
    "PreTrainedTokenizerBase": words,
    "PreTrainedModel": llama,
    "TokenizersBackend": words,
    "StableAudio3DurationEmbedder": durations,
    **{name: partial(network, name) for name in NETWORKS},
}


def lenient(network: torch.nn.Module) -> torch.nn.Module:
    """The network, with layers that take any dtype: some classes cast to float32 on the way."""

    def cast(layer: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(
            x.to(layer.weight.dtype) if isinstance(x, Tensor) and x.is_floating_point() else x
            for x in inputs
        )

    for layer in network.modules():
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Conv3d):
            layer.register_forward_pre_hook(cast)
    return network
