"""What several hosts do together, to be held against what one process does.

The folder that is given has the inputs, `model` and `reviews.tsv`. The results are put under the name that
is given.
"""

import json
import sys
from pathlib import Path

import numpy as np

from kerastune import processes, read_dataset, train
from kerastune.decoding import GenerationSpec, answers
from kerastune.score_file import score_file

# 10 rows in steps of 2 x 3, which divide by neither 2 nor 4; the last batch has one row.
OPTIONS = {
    "dtype": "float32", "epochs": 2, "batch_size": 3, "accumulate": 2, "max_length": 96,
    "learning_rate": 0.01, "rank": 4, "dropout": 0.1, "score_batch_size": 3, "show": False,
}  # fmt: skip


def work(inputs: Path, name: str, mesh: str | None) -> None:
    """Train, score and generate."""
    folder, file = inputs / name, inputs / "reviews.tsv"
    rows = read_dataset(file)
    run = train(rows, out=folder / "run", model=str(inputs / "model"), mesh=mesh, **OPTIONS)
    score_file(folder / "run", file, folder / "submission.tsv", show=False)
    session = run.session
    prompts = [example.prompt_ids for example in session.encoder.encode(rows).examples[:3]]
    spec = GenerationSpec(max_new_tokens=4, stop_ids=(1,), pad_id=0)
    prefix = session.stack.prefill(prompts[0][:3])
    np.savez(
        folder / "found.npz",
        scores=run.score(rows, show=False).log_probabilities,
        written=np.concatenate([answer.token_ids for answer in answers(session.stack, prompts, spec)]),
        prefix=0 if prefix is None else prefix.length,
    )
    (folder / "device.txt").write_text(f"{session.stack.info.device}; {session.stack.info.placement}")


if __name__ == "__main__":
    inputs, name, mesh = json.loads(sys.argv[1])
    with processes():
        work(Path(inputs), name, mesh)
