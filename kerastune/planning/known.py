"""Shapes of well-known public models, from the config.json that each was published with."""

import re

from kerastune.planning.shapes import Shape

#: (names) -> model type, vocabulary, width, layers, heads, key/value heads, head size, feed-forward, tied.
#: Of Gemma 3 from 4B on the text model. Names are as `_simplified` makes them.
_ROWS: dict[tuple[str, ...], tuple[str, int, int, int, int, int, int, int, bool]] = {
    ("gemma2b", "gemma1.12b"): ("gemma", 256_000, 2048, 18, 8, 1, 256, 16_384, True),
    ("gemma7b", "gemma1.17b"): ("gemma", 256_000, 3072, 28, 16, 16, 256, 24_576, True),
    ("gemma22b",): ("gemma2", 256_000, 2304, 26, 8, 4, 256, 9216, True),
    ("gemma29b",): ("gemma2", 256_000, 3584, 42, 16, 8, 256, 14_336, True),
    ("gemma227b",): ("gemma2", 256_000, 4608, 46, 32, 16, 128, 36_864, True),
    ("gemma3270m",): ("gemma3_text", 262_144, 640, 18, 4, 1, 256, 2048, True),
    ("gemma31b",): ("gemma3_text", 262_144, 1152, 26, 4, 1, 256, 6912, True),
    ("gemma34b",): ("gemma3_text", 262_208, 2560, 34, 8, 4, 256, 10_240, True),
    ("gemma312b",): ("gemma3_text", 262_208, 3840, 48, 16, 8, 256, 15_360, True),
    ("gemma327b",): ("gemma3_text", 262_208, 5376, 62, 32, 16, 128, 21_504, True),
    ("llama27b",): ("llama", 32_000, 4096, 32, 32, 32, 128, 11_008, False),
    ("llama213b",): ("llama", 32_000, 5120, 40, 40, 40, 128, 13_824, False),
    ("tinyllama1.1b", "tinyllama1.1bv1.0"): ("llama", 32_000, 2048, 22, 32, 4, 64, 5632, False),
    ("llama38b", "llama3.18b"): ("llama", 128_256, 4096, 32, 32, 8, 128, 14_336, False),
    ("llama370b", "llama3.170b", "llama3.370b"): ("llama", 128_256, 8192, 80, 64, 8, 128, 28_672, False),
    ("llama3.21b",): ("llama", 128_256, 2048, 16, 32, 8, 64, 8192, True),
    ("llama3.23b",): ("llama", 128_256, 3072, 28, 24, 8, 128, 8192, True),
    ("mistral7b", "mistral7bv0.1", "mistral7bv0.2", "mistral0.27b"): (
        "mistral", 32_000, 4096, 32, 32, 8, 128, 14_336, False,
    ),
    ("mistral7bv0.3", "mistral0.37b"): ("mistral", 32_768, 4096, 32, 32, 8, 128, 14_336, False),
    ("smollm2135m",): ("llama", 49_152, 576, 30, 9, 3, 64, 1536, True),
    ("smollm2360m",): ("llama", 49_152, 960, 32, 15, 5, 64, 2560, True),
    ("smollm21.7b",): ("llama", 49_152, 2048, 24, 32, 32, 64, 8192, True),
    ("qwen20.5b", "qwen2.50.5b"): ("qwen2", 151_936, 896, 24, 14, 2, 64, 4864, True),
    ("qwen21.5b", "qwen2.51.5b"): ("qwen2", 151_936, 1536, 28, 12, 2, 128, 8960, True),
    ("qwen2.53b",): ("qwen2", 151_936, 2048, 36, 16, 2, 128, 11_008, True),
    ("qwen27b", "qwen2.57b"): ("qwen2", 152_064, 3584, 28, 28, 4, 128, 18_944, False),
    ("qwen2.514b",): ("qwen2", 152_064, 5120, 48, 40, 8, 128, 13_824, False),
    ("qwen2.532b",): ("qwen2", 152_064, 5120, 64, 40, 8, 128, 27_648, False),
    ("qwen30.6b",): ("qwen3", 151_936, 1024, 28, 16, 8, 128, 3072, True),
    ("qwen31.7b",): ("qwen3", 151_936, 2048, 28, 16, 8, 128, 6144, True),
    ("qwen34b",): ("qwen3", 151_936, 2560, 36, 32, 8, 128, 9728, True),
    ("qwen38b",): ("qwen3", 151_936, 4096, 36, 32, 8, 128, 12_288, False),
    ("qwen314b",): ("qwen3", 151_936, 5120, 40, 40, 8, 128, 17_408, False),
    ("qwen332b",): ("qwen3", 151_936, 5120, 64, 64, 8, 128, 25_600, False),
}  # fmt: skip
_BIASED = {"qwen2": ("q_proj", "k_proj", "v_proj")}
_TUNED = re.compile(r"[-_](?:it|pt|instruct|chat|hf|base|en|text)(?=[-_]|$)")


def known_shape(name: str) -> Shape | None:
    """The shape of a public model by its hub id or KerasHub preset, its tuned variants included.

    Args:
        name: Such as `"google/gemma-2-2b-it"` or `"gemma_2b_en"`.

    Returns:
        The shape; None where the name is not in the table.

    Example:
        >>> known_shape("google/gemma-2b-it") == known_shape("gemma_instruct_2b_en")
        True
        >>> known_shape("google/gemma-2b-it").parameters
        2506172416
    """
    wanted = _simplified(name)
    for names, row in _ROWS.items():
        if wanted in names:
            kind, vocabulary, width, layers, heads, kv_heads, head_size, feed_forward, tied = row
            return Shape(
                model_type=kind,
                vocabulary=vocabulary,
                width=width,
                layers=layers,
                heads=heads,
                kv_heads=kv_heads,
                head_size=head_size,
                feed_forward=feed_forward,
                tied=tied,
                biased=_BIASED.get(kind, ()),
            )
    return None


def _simplified(name: str) -> str:
    """A name without its owner, what says that it was tuned, and separators."""
    last = name.removeprefix("hf://").rsplit("/", 1)[-1].lower().removeprefix("meta-")
    return re.sub(r"[-_]", "", _TUNED.sub("", last))
