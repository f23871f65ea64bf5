"""Tokenizers of the families that chat, small enough to train here, each with the tokens of its turns."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Trained
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from kerastune.models import ModelFiles, resolve_model
from kerastune.tokenizer import load_tokenizer
from tests.tiny_models import write_model

TEXTS = [
    "안녕하세요? 오늘 날씨가 어때요", "네, 오늘은 맑고 따뜻해요", "그럼 산책을 갈까요?",
    "좋은 생각이에요 ㅋㅋ", "user model assistant system", "<|user|>\n<|assistant|>\n<|system|>\n",
    "질문에 짧게 답하세요.",
]  # fmt: skip
#: Architecture -> the family whose tokenizer and turns it has.
FAMILY_OF = {"gemma": "gemma", "gemma3": "gemma", "tinyllama": "tinyllama", "llama3": "llama3"}
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]

#: Family -> its special tokens: pad, end, beginning (or none), then those of turns.
SPECIAL = {
    "gemma": ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"],
    "tinyllama": ["<pad>", "</s>", "<s>", "<unk>"],
    "llama3": [
        "<|finetune_right_pad_id|>", "<|end_of_text|>", "<|begin_of_text|>",
        "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
    ],
    "chatml": ["<|pad|>", "<|endoftext|>", None, "<|im_start|>", "<|im_end|>"],
}  # fmt: skip
TURN_END = {"gemma": "<end_of_turn>", "tinyllama": "</s>", "llama3": "<|eot_id|>", "chatml": "<|im_end|>"}


def _train(family: str) -> Trained:
    special = [token for token in SPECIAL[family] if token]
    byte_level = family in ("llama3", "chatml")
    if byte_level:
        trained = Trained(models.BPE())
        trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trained.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=500,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
    else:
        trained = Trained(models.BPE(unk_token="<unk>", byte_fallback=True))
        replace = normalizers.Replace(" ", "▁")
        trained.normalizer = (
            replace if family == "gemma" else normalizers.Sequence([normalizers.Prepend("▁"), replace])
        )
        trained.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        )
        trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=special + BYTES, show_progress=False)
    # Line by line: no piece spans a line's end, as in the real vocabularies.
    trained.train_from_iterator([line for text in TEXTS for line in text.split("\n")], trainer)
    if SPECIAL[family][2] is not None:
        bos = SPECIAL[family][2]
        trained.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, trained.token_to_id(bos))]
        )
    return trained


@pytest.fixture(scope="session")
def chat_folder(tmp_path_factory) -> Callable[..., Path]:
    """Write a tokenizer of a family, with a chat template of its own where one is given."""

    def write(family: str, template: str | None = None) -> Path:
        folder: Path = tmp_path_factory.mktemp(family)
        trained = _train(family)
        content = json.loads(trained.to_str())
        # The trainer takes the bytes for special tokens; in a model's file they are ordinary pieces.
        content["added_tokens"] = content["added_tokens"][: len([t for t in SPECIAL[family] if t])]
        pad, eos, bos = SPECIAL[family][:3]
        settings = {"pad_token": pad, "eos_token": eos, "bos_token": bos, "add_bos_token": bos is not None}
        if template is not None:
            settings["chat_template"] = template
        config = {"eos_token_id": trained.token_to_id(eos), "max_position_embeddings": 512}
        for name, table in (
            ("tokenizer.json", content),
            ("tokenizer_config.json", settings),
            ("config.json", config),
        ):
            (folder / name).write_text(json.dumps(table, ensure_ascii=False), encoding="utf-8")
        return folder

    return write


@pytest.fixture(scope="session")
def chat_files(chat_folder) -> Callable[..., ModelFiles]:
    """A family's files, without weights, each made once."""
    made: dict[tuple[str, str | None], ModelFiles] = {}

    def files(family: str, template: str | None = None) -> ModelFiles:
        if (family, template) not in made:
            folder = chat_folder(family, template)
            made[family, template] = ModelFiles(
                name=family, base_id=family, path=folder, layout="hf", cache_dir=folder / "cache"
            )
            load_tokenizer(made[family, template])
        return made[family, template]

    return files


@pytest.fixture(scope="session")
def chat_model(chat_folder) -> Callable[..., ModelFiles]:
    """A small random model of an architecture with its family's tokenizer, each made once."""
    made: dict[tuple[str, str], ModelFiles] = {}

    def model(architecture: str, **changes: int) -> ModelFiles:
        key = architecture, str(changes)
        if key not in made:
            folder = chat_folder(FAMILY_OF[architecture])
            tokenizer = load_tokenizer(
                ModelFiles(name="", base_id="", path=folder, layout="hf", cache_dir=folder / "cache")
            )
            write_model(folder, architecture, tokenizer.vocabulary_size, **changes)
            made[key] = resolve_model(str(folder), cache_dir=folder / "cache")
        return made[key]

    return model


@pytest.fixture(scope="session")
def chat_file(tmp_path_factory) -> Path:
    """Six dialogues as JSON Lines: some with several turns, one with a system message."""
    path: Path = tmp_path_factory.mktemp("chat") / "chat.jsonl"
    exchanges = [
        [("user", TEXTS[0]), ("assistant", TEXTS[1])],
        [("user", TEXTS[2]), ("assistant", TEXTS[3])],
        [("system", TEXTS[6]), ("user", TEXTS[0]), ("assistant", TEXTS[3])],
        [("user", TEXTS[0]), ("assistant", TEXTS[1]), ("user", TEXTS[2]), ("assistant", TEXTS[3])],
        [("user", "산책?"), ("assistant", "네, 갈까요?")],
        [("user", "오늘은?"), ("assistant", "맑고 따뜻해요")],
    ]
    rows = [
        {"id": f"m{n}", "messages": [{"role": role, "content": text} for role, text in turns]}
        for n, turns in enumerate(exchanges)
    ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path
