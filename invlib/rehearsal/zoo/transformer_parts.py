"""Small transformers, and pipelines filled with small parts after their own constructors."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from transformers.models.t5gemma.configuration_t5gemma import T5GemmaModuleConfig
from transformers.models.t5gemma.modeling_t5gemma import T5GemmaEncoder

from .parts import WIDTH, clip, clip_tokenizer, dpm, t5, t5_tokenizer, vae

HEADS = {"num_attention_heads": 2, "attention_head_dim": 8}
ROPE = (2, 2, 4)  # rotated axes of a head
SPECIAL = ["<pad>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>", "<|vision_start|>"]
SPECIAL += ["<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<|endoftext|>", "[CLS]", "[SEP]"]
WORDS = ["a", "red", "blue", "cat", "dog", "bad"]
TEXT: dict[str, Any] = {
    "vocab_size": len(SPECIAL) + len(WORDS),
    "hidden_size": WIDTH,
    "intermediate_size": WIDTH,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
}
CHAT = """{%- for message in messages %}<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}{% else %}
{%- for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}
{%- else %}<|vision_start|><|image_pad|><|vision_end|>{% endif %}{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def picture(side: int = 16) -> Image.Image:
    """A picture with a gradient of its own in each colour."""
    y, x = np.mgrid[:side, :side] / (side - 1)
    return Image.fromarray((255 * np.stack([x, y, 1 - x * y], -1)).astype("uint8"))


def mask(side: int = 16) -> Image.Image:
    """A mask, white on the right."""
    return Image.fromarray(np.repeat([[0, 255]], side // 2, 1).repeat(side, 0).astype("uint8"))


def word_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """A tokenizer of a language model, with a template for chats.

    Every word, mark and end of line is a token, so that the numbers of tokens of fixed openings,
    which pipelines drop from the answers of their encoders, are those of the published models.
    """
    vocabulary = {word: i for i, word in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[^\S\n]+"), "removed"),
            pre_tokenizers.Split(Regex(r"\n|[^\w\s]"), "isolated"),
        ]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="</s>",
        eos_token="</s>",
        unk_token="<unk>",
        cls_token="[CLS]",
        sep_token="[SEP]",
        additional_special_tokens=SPECIAL[3:10],
        chat_template=CHAT,
        model_max_length=512,
    )


def language(model: str, **options: Any) -> Any:
    """A language model of three layers, of any class of transformers."""
    cls = getattr(transformers, model)
    return cls(cls.config_class(**{**TEXT, **options}))


FLUX = {
    **HEADS,
    "in_channels": 16,
    "num_layers": 1,
    "num_single_layers": 1,
    "joint_attention_dim": WIDTH,
    "pooled_projection_dim": WIDTH,
    "guidance_embeds": True,
    "axes_dims_rope": ROPE,
}
SD3 = {
    **HEADS,
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 2,
    "joint_attention_dim": 2 * WIDTH,
    "caption_projection_dim": 16,
    "pooled_projection_dim": 2 * WIDTH,
    "pos_embed_max_size": 16,
}
SANA = {
    **HEADS,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 2,
    "num_cross_attention_heads": 2,
    "cross_attention_head_dim": 8,
    "cross_attention_dim": 16,
    "caption_channels": WIDTH,
    "sample_size": 8,
}
QWEN = {
    **HEADS,
    "in_channels": 16,
    "out_channels": 4,
    "num_layers": 2,
    "joint_attention_dim": WIDTH,
    "axes_dims_rope": ROPE,
}
HUNYUAN = {
    **HEADS,
    "in_channels": 4,
    "patch_size": 2,
    "sample_size": 8,
    "hidden_size": 16,
    "cross_attention_dim": WIDTH,
    "cross_attention_dim_t5": WIDTH,
    "pooled_projection_dim": 8,
    "text_len": 77,
    "text_len_t5": 256,
    "activation_fn": "gelu-approximate",
}
COGVIEW = {
    **HEADS,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 2,
    "text_embed_dim": WIDTH,
    "time_embed_dim": 8,
    "condition_dim": 4,
    "pos_embed_max_size": 8,
    "sample_size": 8,
}
ZIMAGE = {
    "dim": 16,
    "n_refiner_layers": 1,
    "n_heads": 2,
    "n_kv_heads": 2,
}

JOY = {
    "in_channels": 4,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "text_dim": WIDTH,
    "num_layers": 2,
    "rope_dim_list": list(ROPE),
}
PACKED = {
    **HEADS,
    "in_channels": 16,
    "num_layers": 1,
    "num_single_layers": 1,
    "joint_attention_dim": WIDTH,
    "axes_dims_rope": ROPE,
}

NETWORKS: dict[str, dict[str, Any]] = {
    "BriaTransformer2DModel": PACKED,
    "BriaFiboTransformer2DModel": {
        **PACKED,
        "in_channels": 4,
        "joint_attention_dim": 2 * WIDTH,
        "text_encoder_dim": WIDTH,
    },
    "BriaFibo2Transformer2DModel": {
        "in_channels": 4,
        "dim": 16,
        "n_layers": 6,
        "n_refiner_layers": 1,
        "n_heads": 2,
        "cap_feat_dim": 3 * WIDTH,
        "injection_layer_ids": (1, 2, 3, 4, 5),
        "perceiver_num_layers": 1,
        "min_num_gist_tokens": 4,
        "max_num_gist_tokens": 8,
        "gist_step": 4,
        "axes_dims": (4, 2, 2),
        "axes_lens": (512, 64, 64),
    },
    "ErnieImageTransformer2DModel": {
        "hidden_size": 16,
        "num_attention_heads": 2,
        "num_layers": 2,
        "ffn_hidden_size": 16,
        "in_channels": 16,
        "out_channels": 16,
        "text_in_dim": WIDTH,
        "rope_axes_dim": ROPE,
    },
    "GlmImageTransformer2DModel": {
        **HEADS,
        "in_channels": 4,
        "out_channels": 4,
        "num_layers": 2,
        "text_embed_dim": WIDTH,
        "time_embed_dim": 8,
        "condition_dim": 4,
        "prior_vq_quantizer_codebook_size": 8,
    },
    "HiDreamImageTransformer2DModel": {
        **HEADS,
        "patch_size": 2,
        "in_channels": 4,
        "num_layers": 1,
        "num_single_layers": 1,
        "caption_channels": [WIDTH, WIDTH],
        "text_emb_dim": 2 * WIDTH,
        "axes_dims_rope": (4, 2, 2),
        "max_resolution": (8, 8),
        "llama_layers": [0, 1],
    },
    "HunyuanImageTransformer2DModel": {
        **HEADS,
        "in_channels": 4,
        "out_channels": 4,
        "num_layers": 1,
        "num_single_layers": 1,
        "num_refiner_layers": 1,
        "text_embed_dim": WIDTH,
        "text_embed_2_dim": WIDTH,
        "rope_axes_dim": (4, 4),
    },
    "Ideogram4Transformer2DModel": {
        **HEADS,
        "in_channels": 16,
        "num_layers": 2,
        "intermediate_size": 16,
        "adaln_dim": 8,
        "llm_features_dim": 13 * WIDTH,
        "mrope_section": (2, 1, 1),
    },
    "JoyImageEditTransformer3DModel": JOY,
    "JoyImageEditPlusTransformer3DModel": JOY,
    "Kandinsky5Transformer3DModel": {
        "in_text_dim": WIDTH,
        "in_text_dim2": WIDTH,
        "time_dim": 8,
        "model_dim": 16,
        "ff_dim": 16,
        "num_text_blocks": 1,
        "num_visual_blocks": 2,
        "axes_dims": (4, 2, 2),
    },
    "Krea2Transformer2DModel": {
        **HEADS,
        "in_channels": 16,
        "num_layers": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 16,
        "timestep_embed_dim": 8,
        "text_hidden_dim": WIDTH,
        "num_text_layers": 2,
        "text_num_attention_heads": 2,
        "text_num_key_value_heads": 2,
        "text_intermediate_size": 16,
        "num_layerwise_text_blocks": 1,
        "num_refiner_text_blocks": 1,
        "axes_dims_rope": ROPE,
    },
    "LongCatImageTransformer2DModel": {**PACKED, "pooled_projection_dim": WIDTH},
    "NucleusMoEImageTransformer2DModel": {
        **HEADS,
        "in_channels": 16,
        "out_channels": 4,
        "num_layers": 2,
        "num_key_value_heads": 1,
        "joint_attention_dim": WIDTH,
        "axes_dims_rope": ROPE,
        "num_experts": 4,
        "moe_intermediate_dim": 8,
        "capacity_factors": 2.0,
    },
    "OmniGenTransformer2DModel": {
        "in_channels": 4,
        "hidden_size": 16,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "intermediate_size": 16,
        "num_layers": 2,
        "pad_token_id": 0,
        "vocab_size": TEXT["vocab_size"],
        "max_position_embeddings": 512,
        "original_max_position_embeddings": 512,
        "pos_embed_max_size": 16,
        "time_step_dim": 8,
        "rope_scaling": {"long_factor": [1.0] * 4, "short_factor": [1.0] * 4, "type": "su"},
    },
    "OvisImageTransformer2DModel": {**PACKED, "out_channels": 16},
    "PRXTransformer2DModel": {
        "in_channels": 4,
        "context_in_dim": WIDTH,
        "hidden_size": 16,
        "num_heads": 2,
        "depth": 2,
        "axes_dim": [4, 4],
    },
    "QwenImage21Transformer2DModel": {
        **HEADS,
        "in_channels": 4,
        "out_channels": 4,
        "num_layers": 2,
        "context_in_dim": WIDTH,
        "axes_dims_rope": ROPE,
    },
    "AuraFlowTransformer2DModel": {
        **HEADS,
        "sample_size": 8,
        "num_mmdit_layers": 1,
        "num_single_dit_layers": 1,
        "joint_attention_dim": WIDTH,
        "caption_projection_dim": 16,
        "pos_embed_max_size": 64,
    },
    "ChromaTransformer2DModel": {
        **HEADS,
        "in_channels": 16,
        "num_layers": 1,
        "num_single_layers": 1,
        "joint_attention_dim": WIDTH,
        "axes_dims_rope": ROPE,
        "approximator_num_channels": 16,
        "approximator_hidden_dim": 16,
        "approximator_layers": 1,
    },
    "DiTTransformer2DModel": {
        **HEADS,
        "in_channels": 4,
        "out_channels": 8,
        "num_layers": 2,
        "sample_size": 8,
        "norm_num_groups": 4,
    },
    "FluxTransformer2DModel": FLUX,
    "FluxControlNetModel": FLUX,
    "Flux2Transformer2DModel": {
        **HEADS,
        "in_channels": 16,
        "num_layers": 1,
        "num_single_layers": 1,
        "joint_attention_dim": 2 * WIDTH,
        "timestep_guidance_channels": 8,
        "axes_dims_rope": (2, 2, 2, 2),
    },
    "Lumina2Transformer2DModel": {
        "in_channels": 4,
        "hidden_size": 16,
        "num_layers": 1,
        "num_refiner_layers": 1,
        "num_attention_heads": 2,
        "num_kv_heads": 1,
        "multiple_of": 8,
        "axes_dim_rope": (4, 2, 2),
        "axes_lens": (64, 16, 16),
        "cap_feat_dim": WIDTH,
    },
    "HunyuanDiT2DModel": {**HUNYUAN, "num_layers": 4},
    "HunyuanDiT2DControlNetModel": {**HUNYUAN, "transformer_num_layers": 4},
    "CogView3PlusTransformer2DModel": COGVIEW,
    "CogView4Transformer2DModel": {**COGVIEW, "rope_axes_dim": (16, 16)},
    "LuminaNextDiT2DModel": {
        "sample_size": 8,
        "in_channels": 4,
        "hidden_size": 16,
        "num_layers": 2,
        "num_attention_heads": 2,
        "num_kv_heads": 2,
        "multiple_of": 8,
        "cross_attention_dim": WIDTH,
    },
    "ZImageTransformer2DModel": {
        **ZIMAGE,
        "in_channels": 4,
        "n_layers": 2,
        "cap_feat_dim": WIDTH,
        "axes_dims": (4, 2, 2),
        "axes_lens": (256, 16, 16),
    },
    "ZImageControlNetModel": {
        **ZIMAGE,
        "control_layers_places": (0,),
        "control_refiner_layers_places": (0,),
        "control_in_dim": 4,
    },
    "PixArtTransformer2DModel": {
        **HEADS,
        "cross_attention_dim": 16,
        "num_layers": 2,
        "sample_size": 8,
        "norm_num_groups": 4,
        "caption_channels": WIDTH,
        "interpolation_scale": 1,
    },
    "QwenImageTransformer2DModel": QWEN,
    "QwenImageControlNetModel": QWEN,
    "SD3Transformer2DModel": SD3,
    "SD3ControlNetModel": SD3,
    "SanaTransformer2DModel": SANA,
    "SanaControlNetModel": SANA,
}


def network(name: str, **options: Any) -> Any:
    """A network of diffusers with a layer or two."""
    return getattr(diffusers, name)(**{**NETWORKS[name], **options})


def autoencoder_dc() -> Any:
    """A deep-compression autoencoder that halves once."""
    return diffusers.AutoencoderDC(
        latent_channels=4,
        attention_head_dim=4,
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        encoder_qkv_multiscales=((), ()),
        decoder_qkv_multiscales=((), ()),
        scaling_factor=0.7,
    )


def autoencoder_qwen(*, halvings: int = 1, channels: int = 4) -> Any:
    """The autoencoder of QwenImage."""
    return diffusers.AutoencoderKLQwenImage(
        base_dim=channels,
        z_dim=4,
        dim_mult=[1] * (halvings + 1),
        num_res_blocks=0,
        temperal_downsample=[False] * halvings,
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.1, 1.2, 0.9, 1.0],
    )


def autoencoder_flux2() -> Any:
    """The autoencoder of Flux 2, which halves once and normalises packed latents."""
    return diffusers.AutoencoderKLFlux2(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        mid_block_add_attention=False,
    )


def autoencoder_qwen21() -> Any:
    """The autoencoder of QwenImage 2.1, which halves four times."""
    return diffusers.AutoencoderKLQwenImage21(
        base_dim=4,
        decoder_base_dim=4,
        z_dim=4,
        dim_mult=[1] * 5,
        num_res_blocks=0,
        temperal_downsample=[False] * 4,
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.1, 1.2, 0.9, 1.0],
    )


def autoencoder_wan(*, patch: int | None = None) -> Any:
    """The autoencoder of Wan, which halves once, after it has packed patches."""
    return diffusers.AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        in_channels=3 * (patch or 1) ** 2,
        out_channels=3 * (patch or 1) ** 2,
        patch_size=patch,
        dim_mult=[1, 1],
        num_res_blocks=0,
        temperal_downsample=[False],
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.1, 1.2, 0.9, 1.0],
        scale_factor_spatial=2 * (patch or 1),
        scale_factor_temporal=1,
    )


def autoencoder_hunyuan() -> Any:
    """The autoencoder of HunyuanImage, which halves once."""
    return diffusers.AutoencoderKLHunyuanImage(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(32, 32),
        layers_per_block=1,
        spatial_compression_ratio=2,
        sample_size=16,
        scaling_factor=0.7,
    )


def autoencoder_refiner() -> Any:
    """The autoencoder of HunyuanImage's refiner, which halves four times."""
    return diffusers.AutoencoderKLHunyuanImageRefiner(
        latent_channels=4,
        block_out_channels=(8, 8, 8, 8, 8),
        layers_per_block=1,
        scaling_factor=0.7,
    )


class VisionProcessor(transformers.Qwen2VLProcessor):
    """Qwen's processor of texts and pictures, without films, which would need torchvision."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None) -> None:
        super().__init__(image_processor, tokenizer, chat_template=CHAT)


def vision_processor() -> VisionProcessor:
    """A processor that makes at most 16 tokens of a picture."""
    size = {"shortest_edge": 64, "longest_edge": 1024}
    pictures = transformers.Qwen2VLImageProcessorPil(patch_size=4, size=size)
    return VisionProcessor(pictures, word_tokenizer())


VISION: dict[str, Any] = {
    "depth": 2,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_heads": 2,
    "patch_size": 4,
    "out_hidden_size": WIDTH,
}
MROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
TOKEN_IDS = {
    "vision_start_token_id": SPECIAL.index("<|vision_start|>"),
    "vision_end_token_id": SPECIAL.index("<|vision_end|>"),
    "image_token_id": SPECIAL.index("<|image_pad|>"),
    "video_token_id": SPECIAL.index("<|video_pad|>"),
}


def mistral(model: str) -> Any:
    """Mistral 3, of any class of transformers."""
    cls = getattr(transformers, model)
    text = transformers.MistralConfig(**TEXT)
    vision = transformers.PixtralVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    return cls(cls.config_class(text_config=text, vision_config=vision))


def seeing(model: str, vision: dict[str, Any], **text: Any) -> Any:
    """A language model that sees, of any class of transformers."""
    cls = getattr(transformers, model)
    return cls(cls.config_class(text_config={**TEXT, **text}, vision_config=vision, **TOKEN_IDS))


def qwen3(model: str = "Qwen3VLForConditionalGeneration", **text: Any) -> Any:
    """Qwen 3 that sees, of any class of transformers."""
    vision = {**VISION, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]}
    return seeing(model, vision, rope_parameters=MROPE, **text)


def siglip() -> Any:
    """Siglip 2's encoder of pictures."""
    return transformers.Siglip2VisionModel(
        transformers.Siglip2VisionConfig(
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            patch_size=4,
            num_patches=16,
        )
    )


MAKERS: dict[str, Callable[[], Any]] = {
    **{name: (lambda name=name: network(name)) for name in NETWORKS},
    "AutoencoderKL": lambda: vae(shift=0.1),
    "CLIPTextModel": clip,
    "CLIPTextModelWithProjection": lambda: clip(projection=True),
    "CLIPTokenizer": clip_tokenizer,
    "T5EncoderModel": t5,
    "T5Tokenizer": t5_tokenizer,
    "AutoencoderDC": autoencoder_dc,
    "AutoencoderKLFlux2": autoencoder_flux2,
    "AutoencoderKLHunyuanImageRefiner": autoencoder_refiner,
    "AutoencoderKLHunyuanImage": autoencoder_hunyuan,
    "AutoencoderKLQwenImage21": autoencoder_qwen21,
    "AutoencoderKLWan": autoencoder_wan,
    "AutoencoderKLQwenImage": autoencoder_qwen,
    "AutoTokenizer": word_tokenizer,
    "BertModel": lambda: language("BertModel"),
    "BertTokenizer": word_tokenizer,
    "CogVideoXDDIMScheduler": diffusers.CogVideoXDDIMScheduler,
    "DPMSolverMultistepScheduler": dpm,
    "DDPMScheduler": dpm,
    "KarrasDiffusionSchedulers": dpm,
    "Gemma2PreTrainedModel": lambda: language("Gemma2Model"),
    "GemmaPreTrainedModel": lambda: language("GemmaModel"),
    "GemmaTokenizer": word_tokenizer,
    "GlmModel": lambda: language("GlmModel"),
    "PreTrainedModel": lambda: language("Qwen3Model"),
    "Mistral3ForConditionalGeneration": lambda: mistral("Mistral3ForConditionalGeneration"),
    "Mistral3Model": lambda: mistral("Mistral3Model"),
    "AutoProcessor": word_tokenizer,
    "Qwen2VLProcessor": vision_processor,
    "Qwen2Tokenizer": word_tokenizer,
    "Qwen2_5_VLForConditionalGeneration": lambda: seeing(
        "Qwen2_5_VLForConditionalGeneration",
        {**VISION, "window_size": 16, "fullatt_block_indexes": [1]},
        rope_parameters=MROPE,
    ),
    "Qwen3ForCausalLM": lambda: language("Qwen3ForCausalLM"),
    "Qwen3Model": lambda: language("Qwen3Model"),
    "Qwen3VLForConditionalGeneration": qwen3,
    "Qwen3VLModel": lambda: qwen3("Qwen3VLModel"),
    "Qwen3VLProcessor": vision_processor,
    "LlamaForCausalLM": lambda: language("LlamaForCausalLM"),
    "LlamaTokenizer": word_tokenizer,
    "TokenizersBackend": word_tokenizer,
    "SmolLM3ForCausalLM": lambda: language("SmolLM3ForCausalLM"),
    "ByT5Tokenizer": t5_tokenizer,
    "Siglip2VisionModel": siglip,
    "Siglip2ImageProcessorPil": lambda: transformers.Siglip2ImageProcessorPil(
        patch_size=4, max_num_patches=16
    ),
    "T5GemmaEncoder": lambda: T5GemmaEncoder(T5GemmaModuleConfig(**TEXT, dropout_rate=0.0)),
    "UMT5EncoderModel": lambda: language(
        "UMT5EncoderModel", d_model=WIDTH, d_kv=8, d_ff=WIDTH, num_heads=2, num_layers=1
    ),
    "FlowMatchEulerDiscreteScheduler": diffusers.FlowMatchEulerDiscreteScheduler,
}


def _part(parameter: inspect.Parameter) -> Any:
    """The part that a constructor's parameter asks for by its type."""
    for name in re.findall(r"\w+", str(parameter.annotation)):
        if name in MAKERS:
            return MAKERS[name]()
    raise TypeError(f"give {parameter.name}: there is no small {parameter.annotation}")


def _wake(module: torch.nn.Module) -> None:
    """Give weights to the layers that start at zero, as those that a ControlNet adds by."""
    for weight in module.parameters():
        if weight.ndim > 1 and not weight.any():
            torch.nn.init.normal_(weight, std=0.1)


def fill(pipeline: str, **parts: Any) -> Any:
    """A pipeline of the given parts, and of a small one for each further type it requires."""
    cls = getattr(diffusers, pipeline)
    for name, parameter in inspect.signature(cls).parameters.items():
        if name not in parts and parameter.default is parameter.empty:
            parts[name] = _part(parameter)
    for part in parts.values():
        if isinstance(part, torch.nn.Module):
            _wake(part)
    return cls(**parts)
