"""What one stack makes, the other takes: the same beginnings, adapters that cross over, runs that agree."""

import numpy as np
import pytest

from kerastune.config import LoraSpec, ModelSpec, TrainSpec
from kerastune.lora import Factors
from kerastune.stack import load_stack


@pytest.fixture(scope="module")
def both(tiny_model):
    return [load_stack(ModelSpec(stack=name, dtype="float32"), tiny_model) for name in ("keras", "hf")]


@pytest.mark.parametrize(
    "options", [{"rank": 3}, {"rank": 2, "alpha": 6, "rslora": True, "targets": ("query",)}]
)
def test_fresh_adapters_are_the_same_numbers(both, options):
    for stack in both:
        stack.add_lora(LoraSpec(**options), seed=11)
    ours, theirs = (stack.get_adapter() for stack in both)
    assert set(ours) == set(theirs)
    for module, update in ours.items():
        np.testing.assert_array_equal(update.a, theirs[module].a)
        assert (update.rank, update.alpha) == pytest.approx((theirs[module].rank, theirs[module].alpha))
        assert not update.b.any()
    assert both[0].info.trainable == both[1].info.trainable > 0
    assert both[0].info.parameters == both[1].info.parameters


def test_two_runs_from_one_seed_agree_step_by_step(both, batch):
    for stack in both:
        stack.add_lora(LoraSpec(rank=3), seed=2)
        stack.start_training(TrainSpec(accumulate=1, weight_decay=0.1))
    for step in range(10):
        losses = [stack.train_step((batch,), 1e-2) for stack in both]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3), step
    ours, theirs = (stack.get_adapter() for stack in both)
    for module in ours:
        np.testing.assert_allclose(ours[module].b, theirs[module].b, atol=2e-3)


@pytest.mark.parametrize(("giver", "taker"), [(0, 1), (1, 0)])
@pytest.mark.parametrize("layout", ["peft", "native"])
def test_an_adapter_of_one_stack_scores_the_same_on_the_other(both, batch, giver, taker, layout):
    both[giver].add_lora(LoraSpec(rank=3, alpha=9, layout=layout), seed=5)
    both[giver].start_training(TrainSpec())
    for _ in range(3):
        both[giver].train_step((batch,), 3e-2)
    both[taker].add_lora(LoraSpec(rank=1), seed=0)  # the base's own logits, whatever was on it
    before = both[taker].label_logits(batch, [4, 5])
    both[taker].load_adapter(both[giver].get_adapter())
    after = both[taker].label_logits(batch, [4, 5])
    np.testing.assert_allclose(after, both[giver].label_logits(batch, [4, 5]), atol=1e-5)
    assert np.abs(after - before).max() > 1e-3


def test_modules_of_different_ranks_cross_over(both, batch):
    draw = np.random.default_rng(0)
    both[1].add_lora(LoraSpec(rank=1), seed=0)
    factors = {
        module: Factors(
            a=draw.standard_normal((rank, update.a.shape[1])).astype(np.float32),
            b=0.1 * draw.standard_normal((update.b.shape[0], rank)).astype(np.float32),
            alpha=float(rank + 1),
        )
        for rank, (module, update) in enumerate(both[1].get_adapter().items(), start=1)
    }
    for stack in both:
        stack.load_adapter(factors)
    np.testing.assert_allclose(both[0].token_losses(batch), both[1].token_losses(batch), rtol=1e-4, atol=1e-5)
    for stack in both:
        for module, update in stack.get_adapter().items():
            np.testing.assert_allclose(update.b, factors[module].b)
            assert update.alpha == pytest.approx(factors[module].alpha)
