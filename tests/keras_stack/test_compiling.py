"""How many programs a run compiles on JAX: one for each padded length, of training and of scoring."""

import logging
import re

import jax
import pandas as pd
import pytest

import kerastune as kt
from kerastune.batch_shapes import bucket_lengths
from kerastune.dataset import read_dataset
from kerastune.objective import Objective


@pytest.fixture
def compiled(caplog):
    """The names of the programs that JAX compiles in the test."""
    caplog.set_level(logging.WARNING, logger="jax")
    with jax.log_compiles():
        yield lambda: re.findall(r"Finished XLA compilation of jit\((run|stateless)\)", caplog.text)


def test_a_program_for_each_length_and_no_more(tiny_model, tmp_path, compiled):
    words = ["맛있다", "별로", "국물이", "진하고", "양이", "많다", "친절", "느리다"]
    texts = [" ".join(words[(row + place) % 8] for place in range(1 + row % 4 * 9)) for row in range(96)]
    rows = read_dataset(pd.DataFrame({"id": range(96), "comment": texts, "label": [0, 1] * 48}))
    options = {"model": str(tiny_model.path), "rank": 2, "epochs": 2, "show": False}
    run = kt.train(rows, out=tmp_path / "run", **options)
    encodings = run.session.encoder.encode(rows)
    lengths = bucket_lengths([len(one) for one in Objective("label").examples(encodings.examples)])
    assert len(lengths) > 1
    assert compiled().count("run") == len(lengths)
    before = len(compiled())
    run.score(rows, show=False)
    assert 1 <= len(compiled()) - before <= len(lengths)
    run.score(rows, show=False)
    assert len(compiled()) - before <= len(lengths)
