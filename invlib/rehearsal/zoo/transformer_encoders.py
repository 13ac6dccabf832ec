"""Small language models, with and without eyes, and the tokenizers and processors of them."""

from __future__ import annotations

from typing import Any

import transformers
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from .parts import WIDTH

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


def mistral3(model: str = "Mistral3ForConditionalGeneration") -> Any:
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


def qwen25() -> Any:
    """Qwen 2.5 that sees."""
    vision = {**VISION, "window_size": 16, "fullatt_block_indexes": [1]}
    return seeing("Qwen2_5_VLForConditionalGeneration", vision, rope_parameters=MROPE)


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


def siglip_processor() -> Any:
    """A processor that makes at most 16 tokens of a picture for Siglip 2."""
    return transformers.Siglip2ImageProcessorPil(patch_size=4, max_num_patches=16)


def umt5() -> Any:
    """A UMT5 encoder of one layer."""
    return language(
        "UMT5EncoderModel", d_model=WIDTH, d_kv=8, d_ff=WIDTH, num_heads=2, num_layers=1
    )


def clip_of_77() -> Any:
    """A CLIP text encoder that reads as many tokens as the published ones."""
    return language("CLIPTextModel", vocab_size=54, max_position_embeddings=77)
