"""Small sizes of the networks of video and audio pipelines, by class."""

from __future__ import annotations

from typing import Any

import diffusers

from .parts import WIDTH

LATENT = 4  # channels of the latents, where a class does not fix them
HEADS: dict[str, Any] = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 1}
LATENTS: dict[str, Any] = {"in_channels": LATENT, "out_channels": LATENT}

WAN: dict[str, Any] = {
    **HEADS,
    **LATENTS,
    "attention_head_dim": 12,
    "text_dim": WIDTH,
    "freq_dim": WIDTH,
    "ffn_dim": WIDTH,
    "rope_max_seq_len": 32,
}
WAN_IMAGE: dict[str, Any] = {
    **WAN,
    "in_channels": 2 * LATENT + 4,
    "image_dim": WIDTH,
    "added_kv_proj_dim": 24,
}
COSMOS: dict[str, Any] = {
    **HEADS,
    **LATENTS,
    "attention_head_dim": 18,
    "mlp_ratio": 2.0,
    "text_embed_dim": WIDTH,
    "adaln_lora_dim": 4,
    "max_size": (4, 8, 8),
    "concat_padding_mask": False,  # needs torchvision
    "extra_pos_embed_type": None,  # takes float32 only
}
HUNYUAN: dict[str, Any] = {
    **HEADS,
    **LATENTS,
    "attention_head_dim": 12,
    "num_single_layers": 1,
    "num_refiner_layers": 1,
    "text_embed_dim": WIDTH,
    "pooled_projection_dim": WIDTH,
    "rope_axes_dim": (4, 4, 4),
}

NETWORKS: dict[str, dict[str, Any]] = {
    "WanTransformer3DModel": WAN,
    "WanVACETransformer3DModel": {
        **WAN,
        "vace_layers": [0],
        "vace_in_channels": 2 * LATENT + 64,
    },
    "WanAnimateTransformer3DModel": {
        **WAN_IMAGE,
        "latent_channels": LATENT,
        "motion_encoder_channel_sizes": {"4": 8, "8": 8},
        "motion_encoder_size": 8,
        "motion_style_dim": 8,
        "motion_dim": 4,
        "motion_encoder_dim": 8,
        "face_encoder_hidden_dim": 8,
        "face_encoder_num_heads": 2,
        "inject_face_latents_blocks": 1,
    },
    "ChronoEditTransformer3DModel": WAN_IMAGE,
    "SkyReelsV2Transformer3DModel": WAN,
    "AnyFlowTransformer3DModel": WAN,
    "LTXVideoTransformer3DModel": {
        **HEADS,
        **LATENTS,
        "cross_attention_dim": WIDTH,
        "caption_channels": WIDTH,
    },
    "CogVideoXTransformer3DModel": {
        **HEADS,
        **LATENTS,
        "time_embed_dim": 8,
        "text_embed_dim": WIDTH,
        "sample_width": 4,
        "sample_height": 2,
        "sample_frames": 5,
        "max_text_seq_length": 8,
        "spatial_interpolation_scale": 1.0,
    },
    "HunyuanVideoTransformer3DModel": HUNYUAN,
    "MochiTransformer3DModel": {
        **HEADS,
        "in_channels": 12,
        "pooled_projection_dim": WIDTH,
        "text_embed_dim": WIDTH,
        "time_embed_dim": 8,
        "max_sequence_length": 8,
    },
    "StableAudioDiTModel": {
        **HEADS,
        **LATENTS,
        "attention_head_dim": 16,
        "sample_size": 16,
        "num_key_value_attention_heads": 1,
        "cross_attention_dim": WIDTH,
        "time_proj_dim": 8,
        "global_states_input_dim": 2 * WIDTH,
        "cross_attention_input_dim": WIDTH,
    },
    "HunyuanVideo15Transformer3DModel": {
        **HEADS,
        "attention_head_dim": 12,
        "in_channels": 2 * LATENT + 1,
        "out_channels": LATENT,
        "num_refiner_layers": 1,
        "text_embed_dim": WIDTH,
        "text_embed_2_dim": WIDTH,
        "image_embed_dim": WIDTH,
        "rope_axes_dim": (4, 4, 4),
        "target_size": 16,
    },
    "HunyuanVideoFramepackTransformer3DModel": {
        **HUNYUAN,
        "has_image_proj": True,
        "image_proj_dim": WIDTH,
        "has_clean_x_embedder": True,
    },
    "LatteTransformer3DModel": {
        **HEADS,
        "in_channels": LATENT,
        "out_channels": 2 * LATENT,
        "cross_attention_dim": 16,
        "caption_channels": WIDTH,
        "attention_bias": True,
        "sample_size": 4,
        "patch_size": 2,
        "activation_fn": "gelu-approximate",
        "num_embeds_ada_norm": 1000,
        "norm_type": "ada_norm_single",
        "norm_elementwise_affine": False,
        "video_length": 2,
    },
    "AllegroTransformer3DModel": {
        **HEADS,
        **LATENTS,
        "attention_head_dim": 12,
        "cross_attention_dim": 24,
        "caption_channels": WIDTH,
        "sample_height": 2,
        "sample_width": 4,
        "sample_frames": 2,
    },
    "EasyAnimateTransformer3DModel": {
        **HEADS,
        **LATENTS,
        "attention_head_dim": 16,
        "patch_size": 2,
        "sample_width": 4,
        "sample_height": 2,
        "mmdit_layers": 1,
        "time_embed_dim": 8,
        "text_embed_dim": WIDTH,
    },
    "CosmosTransformer3DModel": COSMOS,
    "SanaVideoTransformer3DModel": {
        **HEADS,
        **LATENTS,
        "attention_head_dim": 12,
        "num_cross_attention_heads": 2,
        "cross_attention_head_dim": 12,
        "cross_attention_dim": 24,
        "caption_channels": WIDTH,
        "sample_size": 4,
        "rope_max_seq_len": 32,
    },
    "Kandinsky5Transformer3DModel": {
        "in_visual_dim": LATENT,
        "out_visual_dim": LATENT,
        "in_text_dim": WIDTH,
        "in_text_dim2": WIDTH,
        "time_dim": 8,
        "model_dim": 12,
        "ff_dim": 12,
        "num_text_blocks": 1,
        "num_visual_blocks": 1,
        "axes_dims": (4, 4, 4),
    },
    "AnyFlowFARTransformer3DModel": {**WAN, "chunk_partition": (2,)},
    "HeliosTransformer3DModel": {
        **{k: v for k, v in WAN.items() if k != "rope_max_seq_len"},
        "rope_dim": (4, 4, 4),
    },
    "MotifVideoTransformer3DModel": {
        **HEADS,
        "attention_head_dim": 12,
        "in_channels": 2 * LATENT + 1,
        "out_channels": LATENT,
        "num_single_layers": 1,
        "text_embed_dim": WIDTH,
        "rope_axes_dim": (4, 4, 4),
    },
    "LTX2VideoTransformer3DModel": {
        **HEADS,
        **LATENTS,
        "cross_attention_dim": WIDTH,
        "audio_in_channels": LATENT,
        "audio_out_channels": LATENT,
        "audio_num_attention_heads": 2,
        "audio_attention_head_dim": 8,
        "audio_cross_attention_dim": WIDTH,
        "caption_channels": WIDTH,
    },
    "StableAudio3DiTModel": {
        "io_channels": LATENT,
        "embed_dim": WIDTH,
        "depth": 1,
        "num_heads": 2,
        "cond_token_dim": WIDTH,
        "global_cond_dim": WIDTH,
        "local_add_cond_dim": LATENT + 1,
        "timestep_features_dim": 8,
        "ff_mult": 1.0,
        "num_memory_tokens": 2,
    },
    "AceStepTransformer1DModel": {
        "hidden_size": WIDTH,
        "intermediate_size": WIDTH,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "in_channels": 3 * LATENT,
        "audio_acoustic_hidden_dim": LATENT,
    },
    "LongCatAudioDiTTransformer": {
        "dit_dim": WIDTH,
        "dit_depth": 1,
        "dit_heads": 2,
        "dit_text_dim": WIDTH,
        "latent_dim": LATENT,
    },
    "Kandinsky6Transformer3DModel": {
        "in_visual_dim": LATENT,
        "out_visual_dim": LATENT,
        "in_audio_dim": LATENT,
        "out_audio_dim": LATENT,
        "in_text_dim": WIDTH,
        "in_text_dim2": WIDTH,
        "time_dim": 8,
        "model_dim": 12,
        "ff_dim": 12,
        "num_text_blocks": 1,
        "num_visual_blocks": 1,
        "axes_dims": (4, 4, 4),
    },
    "UNet1DModel": {
        "sample_size": 16,
        "sample_rate": 16,
        "extra_in_channels": 64,
    },
}


def network(name: str, **changes: Any) -> Any:
    """The network of this class in small, with changes to its sizes."""
    return getattr(diffusers, name)(**{**NETWORKS[name], **changes})
