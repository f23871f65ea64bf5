"""Keras and Hugging Face held against each other on small random checkpoints of each architecture."""

import numpy as np
import pytest

from kerastune.config import RunConfig
from kerastune.parity import Line, prove_parity, relative_difference
from tests.tiny_models import ARCHITECTURES

OPTIONS = {
    "max_length": 96, "rank": 3, "batch_size": 4, "accumulate": 2, "learning_rate": 2e-3, "dtype": "bfloat16",
}  # fmt: skip


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_both_stacks_agree(make_tiny_model, reviews, architecture):
    model = make_tiny_model(architecture=architecture)
    config = RunConfig().with_options({**OPTIONS, "model": str(model.path)})
    lines = prove_parity(config, [reviews], on_line=lambda _: None, show=False)
    failed = [line for line in lines if line.failed]
    if architecture.startswith(("tinyllama", "llama3", "qwen")):
        # The small tokenizer is of Gemma's kind; for these families both libraries make one of another kind.
        failed = [line for line in failed if not line.name.startswith("ids and masks")]
    assert failed == []
    measured = {
        line.name: line.measured
        for line in lines
        if not (line.measured is None or line.name.startswith("ids"))
    }
    # These checkpoints have no file that KerasHub makes a tokenizer of, and some no preset that says them.
    notes = [line.name for line in lines if line.measured is None]
    assert set(notes) <= {
        "ids and masks, KerasHub's tokenizer",
        "logits of the merged model in plain KerasHub",
    }
    assert len(measured) >= 9
    assert 0 < max(measured.values()) < 1e-2  # two computations, not one compared with itself


def test_a_difference_is_seen(make_tiny_model, reviews, monkeypatch):
    model = make_tiny_model()
    from hf_bridge import HfStack

    honest = HfStack.logits
    monkeypatch.setattr(HfStack, "logits", lambda self, batch: honest(self, batch) * (1 + 1e-4))
    config = RunConfig().with_options({**OPTIONS, "model": str(model.path)})
    seen: list[Line] = []

    def stop_at_logits(line: Line) -> None:
        seen.append(line)
        if line.name.startswith("logits"):
            raise InterruptedError

    with pytest.raises(InterruptedError):
        prove_parity(config, [reviews], on_line=stop_at_logits, show=False)
    assert seen[-1].failed
    assert seen[-1].measured == pytest.approx(1e-4, rel=0.1)


def test_a_line_fails_over_its_limit_and_where_it_is_no_number():
    assert [Line("x", value, 1e-5).failed for value in (1e-6, 1e-5, 1e-4, float("nan"), None)] == [
        False, False, True, True, False,
    ]  # fmt: skip


def test_relative_difference_is_over_the_largest_expected():
    assert relative_difference([[1.0, -2.0]], [[1.0, -4.0]]) == 0.5
    assert relative_difference(np.zeros(2), np.zeros(2)) == 0
    assert relative_difference([0.25], [0.0]) == 0.25
