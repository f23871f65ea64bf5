"""transformers and TRL as their users run them: `SFTTrainer`, `generate` and a plain forward pass."""

import argparse
import tempfile
import time
from typing import Any

from side_by_side import RANK, Measurement, Timer, first_rows, prompts_of

from hf_bridge.loading import computing_device
from kerastune.models import resolve_model
from kerastune.precision import choose_dtype

_WARM_UP_ROWS, _NEW_TOKENS, _BATCH = 16, 4, 32


def train_trl(args: argparse.Namespace) -> Measurement:
    """Train with TRL's trainer as its documentation begins: a model's path, a dataset and a LoRA."""
    return _sft(args, {})


def train_trl_best(args: argparse.Namespace) -> Measurement:
    """Train with the best that TRL offers.

    Its packing needs FlashAttention, without which packed rows see each other: it applies on a GPU alone.
    """
    import importlib.util

    flash = importlib.util.find_spec("flash_attn") is not None
    return _sft(
        args,
        {
            "gradient_checkpointing": False,
            "completion_only_loss": True,
            "per_device_train_batch_size": 8,
            "packing": flash,
            "model_init_kwargs": {
                "dtype": _dtype(args),
                **({"attn_implementation": "flash_attention_2"} if flash else {}),
            },
        },
    )


def _sft(args: argparse.Namespace, settings: dict[str, Any]) -> Measurement:
    import datasets
    import torch
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    dataset = first_rows("train.tsv", _WARM_UP_ROWS + args.peer_rows)
    timer = Timer()
    rows = [
        {"prompt": prompt, "completion": str(label)}
        for prompt, label in zip(prompts_of(dataset), dataset.labels.tolist(), strict=True)
    ]
    began: list[float] = []

    def trainer(rows: list[dict[str, str]], folder: str) -> SFTTrainer:
        return SFTTrainer(
            model=str(resolve_model(args.model).path),
            args=SFTConfig(
                output_dir=folder,
                num_train_epochs=1,
                report_to="none",
                save_strategy="no",
                use_cpu=not torch.cuda.is_available(),  # without it the defaults refuse to begin
                **settings,
            ),
            train_dataset=datasets.Dataset.from_list(rows),
            peft_config=LoraConfig(r=RANK, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
        )

    with tempfile.TemporaryDirectory() as folder:
        with timer.part("load"):
            warm, timed = (trainer(part, folder) for part in (rows[:_WARM_UP_ROWS], rows[_WARM_UP_ROWS:]))
        with timer.part("first"):
            warm.train()
        with timer.part("steady", since=lambda: began[-1]):
            began.append(time.perf_counter())
            timed.train()
    used = timed.args
    weights = f"{timed.model.get_base_model().dtype}".removeprefix("torch.")
    return timer.measurement(
        what=f"trl SFTTrainer, batch size {used.per_device_train_batch_size}, gradient checkpointing "
        f"{used.gradient_checkpointing}, packing {used.packing}, loss on the completion, weights in "
        f"{weights}",
        library="torch",
        dtype="bfloat16" if used.bf16 else weights,  # what it multiplies in: bf16 is autocast
        first_row=_WARM_UP_ROWS,
        examples=len(rows) - _WARM_UP_ROWS,
    )


def score_generate(args: argparse.Namespace) -> Measurement:
    """Generate an answer a row."""
    return _generate(args, 1, args.slow_rows)


def score_generate_batched(args: argparse.Namespace) -> Measurement:
    """Generate answers, a batch at a time."""
    return _generate(args, _BATCH, args.peer_rows)


def _generate(args: argparse.Namespace, batch_size: int, rows: int) -> Measurement:
    dataset = first_rows("test.tsv", rows)
    timer = Timer()
    with timer.part("load"):
        model, tokenizer = _load(args, "left")
    prompts = prompts_of(dataset)

    def answer(prompts: list[str]) -> list[str]:
        inputs = tokenizer(prompts, padding=True, return_tensors="pt").to(model.device)
        ids = model.generate(**inputs, max_new_tokens=_NEW_TOKENS, do_sample=False)
        return tokenizer.batch_decode(ids[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)

    with timer.part("first"):
        answer(prompts[:batch_size])
    with timer.part("steady"):
        batches = (prompts[start : start + batch_size] for start in range(0, len(prompts), batch_size))
        answers = [text.strip() for batch in batches for text in answer(batch)]
    return timer.measurement(
        what=f"transformers generate, batches of {batch_size}, at most {_NEW_TOKENS} new tokens",
        library="torch",
        dtype=_dtype(args),
        examples=len(dataset),
        right=sum(answer == str(label) for answer, label in zip(answers, dataset.labels, strict=True)),
        no_label=sum(answer not in ("0", "1") for answer in answers),
    )


def score_forward(args: argparse.Namespace) -> Measurement:
    """One forward pass a batch, with all logits, of which those after the last token are read."""
    import torch

    dataset = first_rows("test.tsv", args.peer_rows)
    timer = Timer()
    with timer.part("load"):
        model, tokenizer = _load(args, "right")
    labels = [tokenizer(str(label), add_special_tokens=False).input_ids[0] for label in (0, 1)]
    prompts = prompts_of(dataset)

    def choose(prompts: list[str]) -> list[int]:
        inputs = tokenizer(prompts, padding=True, return_tensors="pt").to(model.device)
        with torch.no_grad():
            logits = model(**inputs).logits
        last = inputs.attention_mask.sum(dim=1) - 1
        return logits[torch.arange(len(last)), last][:, labels].argmax(dim=1).tolist()

    with timer.part("first"):
        choose(prompts[:_BATCH])
    with timer.part("steady"):
        batches = (prompts[start : start + _BATCH] for start in range(0, len(prompts), _BATCH))
        chosen = [label for batch in batches for label in choose(batch)]
    return timer.measurement(
        what=f"transformers forward, batches of {_BATCH} in the rows' order, the whole vocabulary's logits",
        library="torch",
        dtype=_dtype(args),
        examples=len(dataset),
        right=int((chosen == dataset.labels).sum()),
        no_label=0,
    )


def _dtype(args: argparse.Namespace) -> str:
    fast_bfloat16 = computing_device().fast_bfloat16
    model_type = resolve_model(args.model).model_type
    return choose_dtype(args.dtype, fast_bfloat16=fast_bfloat16, model_type=model_type)


def _load(args: argparse.Namespace, padding: str) -> tuple[Any, Any]:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = resolve_model(args.model).path
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, _dtype(args))).to(device)
    tokenizer = AutoTokenizer.from_pretrained(path, padding_side=padding)
    return PeftModel.from_pretrained(model, args.adapter).eval(), tokenizer
