"""Small random models written as GGUF the way llama.cpp writes them, with transformers as the reference."""

from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import gguf
import numpy as np
import pytest
import sentencepiece
import torch
import transformers

CORPUS = [
    "국물이 진하고 양이 많아요", "직원이 불친절하고 음식이 늦게 나와요",
    "가격도 착하고 맛도 최고 ㅋㅋㅋ", "다시는 안 가요 ㅠㅠ",
    "the food was good and the price was fair", "국물이 맛있어요. 국물이 최고", "음식이 짜고 양이 적어요!!",
] * 4  # fmt: skip
SHAPE = {
    "vocab_size": 420, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 7,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64,
    "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2,
}  # fmt: skip
LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
}  # fmt: skip
MODELS = {
    "gemma": ("gemma", transformers.GemmaConfig, {}),
    "gemma2": ("gemma2", transformers.Gemma2Config, {"sliding_window": 4, "query_pre_attn_scalar": 8}),
    "gemma3": ("gemma3", transformers.Gemma3TextConfig, {"sliding_window": 4, "query_pre_attn_scalar": 8}),
    "llama": ("llama", transformers.LlamaConfig, {"tie_word_embeddings": False, "rms_norm_eps": 1e-5}),
    "llama3": (
        "llama",
        transformers.LlamaConfig,
        {"tie_word_embeddings": True, "rope_parameters": LLAMA3_ROPE},
    ),
    "qwen2": ("qwen2", transformers.Qwen2Config, {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", transformers.Qwen3Config, {"tie_word_embeddings": False}),
}


@pytest.fixture(scope="session")
def trained_sentencepiece():
    """A SentencePiece BPE model of Gemma's kind, trained by the library itself."""
    model = BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=model, model_type="bpe", vocab_size=SHAPE["vocab_size"],
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        add_dummy_prefix=False, pad_id=0, eos_id=1, bos_id=2, unk_id=3, pad_piece="<pad>", bos_piece="<bos>",
        eos_piece="<eos>", control_symbols=["<start_of_turn>", "<end_of_turn>"],
        user_defined_symbols=["\n", "▁▁", "▁▁▁", "<b>"], character_coverage=1.0, minloglevel=2,
    )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def add_sentencepiece(writer: gguf.GGUFWriter, processor) -> None:
    """The vocabulary as llama.cpp stores it: spaces in user-defined pieces, types as numbers."""
    pieces = [processor.id_to_piece(n) for n in range(processor.get_piece_size())]
    kinds = []
    for number, piece in enumerate(pieces):
        user = piece in ("\n", "▁▁", "▁▁▁", "<b>")
        special = processor.is_control(number) or processor.is_unknown(number)
        kinds.append(4 if user else 6 if processor.is_byte(number) else 3 if special else 1)
    shown = [
        piece.replace("▁", " ") if kind == 4 else piece for piece, kind in zip(pieces, kinds, strict=True)
    ]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(shown)
    writer.add_token_scores([processor.get_score(n) for n in range(len(pieces))])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(3)
    writer.add_pad_token_id(0)
    writer.add_add_space_prefix(False)


def permuted(rows: np.ndarray, heads: int) -> np.ndarray:
    """What llama.cpp does to the query and key rows of a Llama, as its converter writes it."""
    return (
        rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
        .swapaxes(1, 2)
        .reshape(rows.shape)
    )


def write_model(path: Path, kind: str, processor, quantization: str = "F32"):
    """Write a random model as GGUF and return the transformers model that it was made from."""
    arch, config_class, changes = MODELS[kind]
    config = config_class(**SHAPE | changes)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval().float()
    with torch.no_grad():
        for parameter in model.parameters():  # norms are ones or zeros at first, which would hide a mistake
            parameter.add_(0.1 * torch.randn_like(parameter))
    writer = gguf.GGUFWriter(path, arch)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(
        config.head_dim if arch != "qwen2" else config.hidden_size // config.num_attention_heads
    )
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope.get("full_attention", rope)["rope_theta"])
    if arch in ("gemma2", "gemma3"):
        writer.add_sliding_window(config.sliding_window)
    if arch == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if kind == "llama3":
        base = 1 / 500000.0 ** (np.arange(0, 8, 2) / 8)
        scaled = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS["llama3"](config)[0].numpy()
        writer.add_tensor("rope_freqs.weight", (base / scaled).astype(np.float32))
    add_sentencepiece(writer, processor)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[arch.upper()], config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = tensor.numpy().astype(np.float32)
        if arch.startswith("gemma") and name.endswith("norm.weight"):
            values = values + np.float32(1)
        for projection, heads in (
            ("q_proj", config.num_attention_heads),
            ("k_proj", config.num_key_value_heads),
        ):
            if arch == "llama" and projection in name:
                values = permuted(values, heads)
        stem, _, suffix = name.rpartition(".")
        target = f"{names.get_name(stem)}.{suffix}"
        if quantization == "F32" or values.ndim == 1:
            writer.add_tensor(target, values)
        else:
            kind_ = gguf.GGMLQuantizationType[quantization]
            writer.add_tensor(target, gguf.quants.quantize(values, kind_), raw_dtype=kind_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


@pytest.fixture(scope="session")
def gguf_model(tmp_path_factory, trained_sentencepiece):
    """kind -> a written GGUF file and the model that it was made from."""

    def make(kind: str, quantization: str = "F32") -> SimpleNamespace:
        path = tmp_path_factory.mktemp("gguf") / f"{kind}.gguf"
        return SimpleNamespace(path=path, model=write_model(path, kind, trained_sentencepiece, quantization))

    return make
