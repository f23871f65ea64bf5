"""The three backends of Keras, each in a process of its own, on the tiny Gemma 3."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = """
import sys
import numpy as np
import kerastune as kt
import kerastune.scoring
from kerastune.objective import Objective
from kerastune.session import open_session
from kerastune.decoding import GenerationSpec, answers
from kerastune.validation import validate

backend, model, table, folder = sys.argv[1:]
options = {"model": model, "backend": backend, "dtype": "float32", "max_length": 96, "batch_size": 5,
           "epochs": 1, "learning_rate": 0.02}
rows = kt.read_dataset(table)
session = open_session(kt.RunConfig().with_options(options))
encodings = session.encoder.encode(rows)
before = session.score(rows, show=False).log_probabilities
kerastune.scoring.pays = lambda length, rows: length > 0
reused = session.score(rows, show=False).log_probabilities
written = answers(session.stack, [example.prompt_ids for example in encodings.examples[:2]],
                  GenerationSpec(max_new_tokens=4, stop_ids=(1,), pad_id=0))
ids = [list(answer.token_ids) for answer in written]
run = kt.train(rows, out=folder, show=False, **options)
objective = Objective("label", tuple(ids[0] for ids in encodings.label_ids))
losses = [validate(stack, encodings.examples, objective, batch_size=5, pad_id=0).loss
          for stack in (session.stack, run.session.stack)]
np.savez(folder + "/found.npz", before=before, reused=reused, ids=np.array(sum(ids, [])), losses=losses)
"""
BACKENDS = ("jax", "tensorflow", "torch")


@pytest.fixture(scope="module")
def found(tiny_model, reviews_file, tmp_path_factory):
    """What each backend came to."""
    results = {}
    for backend in BACKENDS:
        folder = tmp_path_factory.mktemp(backend) / "run"
        environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
        answer = subprocess.run(
            [sys.executable, "-c", SCRIPT, backend, tiny_model.path, reviews_file, folder],
            env=environment | {"OMP_NUM_THREADS": "1"},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
        )
        assert answer.returncode == 0, answer.stderr[-2000:]
        results[backend] = dict(np.load(folder / "found.npz"))
    return results


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_scores_before_training_are_those_of_jax(found, backend):
    np.testing.assert_allclose(found[backend]["before"], found["jax"]["before"], atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_shared_prefix_gives_the_same_scores(found, backend):
    np.testing.assert_allclose(found[backend]["reused"], found[backend]["before"], atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_epoch_lowers_the_loss(found, backend):
    before, after = found[backend]["losses"]
    assert after < before


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_greedy_generation_is_that_of_jax(found, backend):
    assert found["jax"]["ids"].size
    np.testing.assert_array_equal(found[backend]["ids"], found["jax"]["ids"])
