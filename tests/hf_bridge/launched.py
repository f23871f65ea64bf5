"""What several processes do together, to be held against what one does; run by torchrun.

The folder that is given has the inputs, `model`, `reviews.tsv` and `pairs.jsonl`. The results are put under
the name that is given.
"""

import json
import sys
from pathlib import Path

import numpy as np

from kerastune import processes, read_dataset, train
from kerastune.batching import make_batch
from kerastune.decoding import GenerationSpec, answers, decode
from kerastune.evaluating import evaluate_file
from kerastune.leading import LeadingStack
from kerastune.preference.reading import read_pairs
from kerastune.score_file import score_file
from kerastune.stack import Stack

# 10 rows in steps of 2 x 3: the last batch has one row, for which the second process has nothing.
OPTIONS = {
    "stack": "hf", "dtype": "float32", "epochs": 2, "batch_size": 3, "accumulate": 2, "max_length": 96,
    "learning_rate": 0.01, "rank": 4, "score_batch_size": 3, "show": False,
}  # fmt: skip


def work(inputs: Path, name: str, shard: str | None) -> None:
    """Train, score, evaluate, generate, and train on pairs."""
    folder, file = inputs / name, inputs / "reviews.tsv"
    options = OPTIONS | {"model": str(inputs / "model"), "shard": shard}
    rows = read_dataset(file)
    run = train(rows, validation=rows, out=folder / "run", **options)
    score_file(folder / "run", file, folder / "submission.tsv", show=False)
    evaluate_file(folder / "run", file, show=False)
    train(read_pairs(inputs / "pairs.jsonl"), out=folder / "pairs", **options)
    session = run.session
    examples = session.encoder.encode(rows).examples[:5]
    batch = make_batch(examples, rows=5, length=max(map(len, examples)), pad_id=0, answers=2)
    prompts = [example.prompt_ids for example in examples]
    drawn = GenerationSpec(max_new_tokens=4, stop_ids=(1,), pad_id=0, temperature=1.0)
    prefix = session.stack.prefill(prompts[0][:3])
    session.stack.prefill(prompts[0][:2])  # which leaves the first as it is
    behind = make_batch(
        [type(one)(one.example_id, one.prompt_ids[3:], one.completion_ids) for one in examples],
        rows=5,
        length=max(map(len, examples)),
        pad_id=0,
        answers=2,
    )
    np.savez(
        folder / "numbers.npz",
        token_losses=session.stack.token_losses(batch),
        token_losses_behind_a_prefix=session.stack.token_losses(behind, prefix),
        logits=session.stack.logits(batch) * batch.padding_mask[..., None],
        written_in_turns=in_turns(session.stack, prompts, drawn),
        written=[answer.token_ids[:3] for answer in answers(session.stack, prompts, drawn)],
        written_alone=answers(session.stack, prompts[:1], drawn)[0].token_ids,
        held=held(session.stack),
    )


def in_turns(stack: Stack, prompts: list[tuple[int, ...]], spec: GenerationSpec) -> list[int]:
    """Continue two lots of prompts at the same time."""
    lots = decode(stack, prompts[:2], spec), decode(stack, prompts[2:], spec)
    return [token for pair in zip(*lots, strict=False) for _, token in pair]


def held(stack: Stack) -> float:
    """The share of the decoder layers' frozen numbers that this process holds."""
    if not isinstance(stack, LeadingStack):
        return 1.0
    layers = stack._own._model.base_model.layers
    frozen = [one for one in layers.parameters() if not one.requires_grad]
    mine = sum(getattr(one, "to_local", lambda one=one: one)().numel() for one in frozen)
    return mine / sum(one.numel() for one in frozen)


if __name__ == "__main__":
    inputs, name, shard = json.loads(sys.argv[1])
    with processes():
        work(Path(inputs), name, shard)
