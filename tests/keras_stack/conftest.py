"""A small random Gemma 3 in a Hugging Face layout folder, made in seconds, on the Keras stack."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from kerastune.batching import make_batch
from kerastune.config import ModelSpec
from kerastune.encoding import Encoder, Encodings
from kerastune.keras_stack import KerasStack
from kerastune.lora import Factors
from kerastune.models import ModelFiles, resolve_model
from kerastune.task import get_task
from kerastune.template import get_template
from tests.conftest import CORPUS

WIDTH, HEADS, HEAD_SIZE, LAYERS, HIDDEN = 32, 4, 8, 2, 48


def gemma3_config(vocabulary: int) -> dict:
    return {
        "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "vocab_size": vocabulary,
        "hidden_size": WIDTH, "intermediate_size": HIDDEN, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": 1, "head_dim": HEAD_SIZE,
        "query_pre_attn_scalar": HEAD_SIZE, "rms_norm_eps": 1e-6, "sliding_window": 512,
        "layer_types": ["sliding_attention"] * LAYERS, "max_position_embeddings": 512,
        "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True, "attention_bias": False,
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 1000000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
        "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0, "bos_token_id": 2, "eos_token_id": 1,
        "pad_token_id": 0,
    }  # fmt: skip


def gemma3_tensors(vocabulary: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(7)

    def weight(*shape: int) -> np.ndarray:
        return (draw.standard_normal(shape) * 0.15).astype(np.float32)

    tensors = {"model.embed_tokens.weight": weight(vocabulary, WIDTH), "model.norm.weight": weight(WIDTH)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        tensors |= {
            prefix + "self_attn.q_proj.weight": weight(HEADS * HEAD_SIZE, WIDTH),
            prefix + "self_attn.k_proj.weight": weight(HEAD_SIZE, WIDTH),
            prefix + "self_attn.v_proj.weight": weight(HEAD_SIZE, WIDTH),
            prefix + "self_attn.o_proj.weight": weight(WIDTH, HEADS * HEAD_SIZE),
            prefix + "self_attn.q_norm.weight": weight(HEAD_SIZE),
            prefix + "self_attn.k_norm.weight": weight(HEAD_SIZE),
            prefix + "mlp.gate_proj.weight": weight(HIDDEN, WIDTH),
            prefix + "mlp.up_proj.weight": weight(HIDDEN, WIDTH),
            prefix + "mlp.down_proj.weight": weight(WIDTH, HIDDEN),
        }
        for norm in ("input", "post_attention", "pre_feedforward", "post_feedforward"):
            tensors[f"{prefix}{norm}_layernorm.weight"] = weight(WIDTH)
    return tensors


@pytest.fixture(scope="session")
def tiny_model(train_tokenizer_folder, tiny_tokenizer) -> ModelFiles:
    folder: Path = train_tokenizer_folder(CORPUS)
    vocabulary = tiny_tokenizer.vocabulary_size
    (folder / "config.json").write_text(json.dumps(gemma3_config(vocabulary)))
    save_file(gemma3_tensors(vocabulary), folder / "model.safetensors", metadata={"format": "pt"})
    return resolve_model(str(folder), cache_dir=folder / "cache")


@pytest.fixture
def make_stack(tiny_model):
    """Load the tiny model anew on JAX in float32."""

    def make(**spec) -> KerasStack:
        return KerasStack(ModelSpec(**({"dtype": "float32"} | spec)), tiny_model)

    return make


@pytest.fixture
def encodings(tiny_tokenizer, reviews) -> Encodings:
    task = get_task("review-sentiment")
    encoder = Encoder(
        task=task, template=get_template(task.template), tokenizer=tiny_tokenizer, max_length=96
    )
    return encoder.encode(reviews)


@pytest.fixture
def batch(encodings):
    """The ten reviews as one batch."""
    length = max(map(len, encodings.examples))
    answers = max(len(example.completion_ids) for example in encodings.examples)
    return make_batch(encodings.examples, rows=10, length=length, pad_id=0, answers=answers)


@pytest.fixture
def trained_factors():
    """Factors with a B that is not zero, for an adapter that does something."""

    def make(stack: KerasStack) -> dict[str, Factors]:
        draw = np.random.default_rng(3)
        return {
            module: Factors(
                a=update.a,
                b=np.where(update.b == 0, 0.2 * draw.standard_normal(update.b.shape), 0).astype(np.float32),
                alpha=update.alpha,
            )
            for module, update in stack.get_adapter().items()
        }

    return make
