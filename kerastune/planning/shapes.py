"""A decoder's shape, out of its configuration: all that its size and its cost depend on, and no weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kerastune.config import LoraSpec
from kerastune.errors import ModelError
from kerastune.models.hf_config import with_defaults
from kerastune.targets import canonical_targets

#: The model types whose shape is known, and how many norms of the width a decoder layer has.
_NORMS = {
    "gemma": 2, "gemma2": 4, "gemma3_text": 4, "llama": 2, "mistral": 2, "qwen2": 2, "qwen3": 2,
}  # fmt: skip
_QUERY_NORMS = ("gemma3_text", "qwen3")
_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
_MLP = ("gate_proj", "up_proj", "down_proj")

#: KerasHub's class of a backbone -> the model type; a Gemma with norms after its layers is a Gemma 2.
_KERAS_TYPES = {
    "GemmaBackbone": "gemma",
    "Gemma3Backbone": "gemma3_text",
    "LlamaBackbone": "llama",
    "Llama3Backbone": "llama",
    "MistralBackbone": "mistral",
    "QwenBackbone": "qwen2",
    "Qwen3Backbone": "qwen3",
}
#: KerasHub's argument -> the key of a Hugging Face config.
_KERAS_KEYS = {
    "vocabulary_size": "vocab_size",
    "hidden_dim": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_query_heads": "num_attention_heads",
    "num_key_value_heads": "num_key_value_heads",
    "intermediate_dim": "intermediate_size",
    "head_dim": "head_dim",
    "tie_word_embeddings": "tie_word_embeddings",
}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The numbers of a decoder-only language model with gated feed-forward layers.

    Args:
        model_type: Hugging Face's name of the family.
        vocabulary: Tokens.
        width: Length of a hidden state.
        layers: Decoder layers.
        heads: Query heads.
        kv_heads: Key and value heads.
        head_size: Length of a head's query, key or value.
        feed_forward: Length of the gated layer.
        tied: Whether the head's matrix is the embedding.
        biased: The linear layers that have a bias, by Hugging Face's names.
    """

    model_type: str
    vocabulary: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    feed_forward: int
    tied: bool
    biased: tuple[str, ...] = ()

    @classmethod
    def of_config(cls, config: Mapping[str, Any], name: str = "the model") -> "Shape":
        """Read the shape off a parsed config.json, Hugging Face's or a KerasHub preset's.

        Args:
            config: The content of config.json.
            name: What an error calls the model.

        Raises:
            ModelError: The family is not known, or a size is missing.

        Example:
            >>> shape = Shape.of_config({
            ...     "model_type": "llama", "vocab_size": 32000, "hidden_size": 2048, "num_hidden_layers": 22,
            ...     "num_attention_heads": 32, "num_key_value_heads": 4, "intermediate_size": 5632,
            ... })
            >>> shape.parameters
            1100048384
        """
        try:
            config = _as_hugging_face(config)
            kind = config.get("model_type")
            if kind not in _NORMS:
                raise ModelError(
                    f"{name}: expected a model of the types {', '.join(_NORMS)}, received {kind!r}; its "
                    "memory cannot be planned"
                )
            full = with_defaults(config)
            biased: tuple[str, ...] = _ATTENTION if full.get("attention_bias") else ()
            biased += _MLP if full.get("mlp_bias") else ()
            return cls(
                model_type=kind,
                vocabulary=full["vocab_size"],
                width=full["hidden_size"],
                layers=full["num_hidden_layers"],
                heads=full["num_attention_heads"],
                kv_heads=full["num_key_value_heads"],
                head_size=full["head_dim"],
                feed_forward=full["intermediate_size"],
                tied=bool(full["tie_word_embeddings"]),
                biased=("q_proj", "k_proj", "v_proj") if kind == "qwen2" else biased,
            )
        except (KeyError, TypeError, ZeroDivisionError) as error:
            raise ModelError(
                f"{name}: its config.json has no {error}; its memory cannot be planned"
            ) from error

    @property
    def linear(self) -> dict[str, tuple[int, int]]:
        """A decoder layer's linear layers: Hugging Face's name -> (outputs, inputs)."""
        queries, keys = self.heads * self.head_size, self.kv_heads * self.head_size
        return {
            "q_proj": (queries, self.width),
            "k_proj": (keys, self.width),
            "v_proj": (keys, self.width),
            "o_proj": (self.width, queries),
            "gate_proj": (self.feed_forward, self.width),
            "up_proj": (self.feed_forward, self.width),
            "down_proj": (self.width, self.feed_forward),
        }

    @property
    def norms(self) -> int:
        """A decoder layer's norms of the width."""
        return _NORMS[self.model_type]

    @property
    def has_query_norms(self) -> bool:
        """Whether queries and keys have norms of a head's size."""
        return self.model_type in _QUERY_NORMS

    @property
    def backbone(self) -> int:
        """The parameters of the decoder layers' linear layers, which every token is multiplied with."""
        return self.layers * sum(outputs * inputs for outputs, inputs in self.linear.values())

    @property
    def head(self) -> int:
        """The parameters of the language-model head, and of the embedding where that is another matrix."""
        return self.vocabulary * self.width

    @property
    def parameters(self) -> int:
        """All parameters of the base."""
        biases = sum(self.linear[name][0] for name in self.biased)
        vectors = self.norms * self.width + 2 * self.head_size * self.has_query_norms + biases
        return self.backbone + self.head * (1 if self.tied else 2) + self.layers * vectors + self.width

    def trainable(self, lora: LoraSpec, stack: str = "hf") -> int:
        """The parameters of an adapter on this base.

        PEFT's factors of a linear layer have `rank * (inputs + outputs)` numbers. In Keras' native layout
        every head has an A of its own and all share one B, where the kernel has a heads axis: the projections
        of queries, keys and values (see `kerastune.lora`). DoRA has a magnitude for each output beside.

        Args:
            lora: The adapter's options.
            stack: The native layout is Keras' on `"keras"` and PEFT's on `"hf"`.
        """
        heads = {"q_proj": self.heads, "k_proj": self.kv_heads, "v_proj": self.kv_heads}
        count = 0
        for name in canonical_targets(lora.targets):
            outputs, inputs = self.linear[name]
            copies = heads.get(name, 1) if lora.layout == "native" and stack == "keras" else 1
            count += lora.rank * (copies * inputs + outputs // copies) + outputs * lora.dora
        return self.layers * count


def _as_hugging_face(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A KerasHub preset's config, or that of a model which reads images too, in a text model's keys."""
    if "text_config" in config:
        text = dict(config["text_config"])
        return {**text, "model_type": text.get("model_type", f"{config.get('model_type')}_text")}
    if "class_name" not in config:
        return config
    kind, written = _KERAS_TYPES.get(config["class_name"], config["class_name"]), config.get("config", {})
    translated = {theirs: written[ours] for ours, theirs in _KERAS_KEYS.items() if ours in written}
    if kind == "gemma" and written.get("use_post_ffw_norm"):
        kind = "gemma2"
    if kind in ("gemma", "gemma2"):  # KerasHub counts the gate's width twice
        translated["intermediate_size"] //= 2
    return {**translated, "model_type": kind}
