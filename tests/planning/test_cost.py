"""Operations, against torch's own counter on small models."""

import pytest

from kerastune.config import LoraSpec
from kerastune.planning import Shape, known_shape
from kerastune.planning.cost import floor_flops, forward_flops, step_flops

ROWS, LENGTH, RANK = 3, 8, 2


@pytest.fixture(params=["gemma2", "gemma3", "llama3", "qwen3"])
def counted(request, make_tiny_model):
    """A shape, and torch's counts of a forward pass and of a LoRA step, logits everywhere."""
    import torch
    from peft import LoraConfig, get_peft_model
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoConfig, AutoModelForCausalLM

    config = make_tiny_model(architecture=request.param).config
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), attn_implementation="eager")
    ids = torch.zeros((ROWS, LENGTH), dtype=torch.long)
    shape = Shape.of_config(config)
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        model(input_ids=ids, use_cache=False)
    adapted = get_peft_model(model, LoraConfig(r=RANK, target_modules=list(shape.linear)))
    with FlopCounterMode(display=False) as step:
        adapted(input_ids=ids, use_cache=False).logits.sum().backward()
    # Counted there and not by us: rotary angles are a product of one number with each frequency.
    return shape, forward.get_total_flops(), step.get_total_flops()


def test_forward_and_step(counted):
    shape, forward, step = counted
    tokens, trainable = ROWS * LENGTH, shape.trainable(LoraSpec(rank=RANK))
    asked = {"tokens": tokens, "length": LENGTH, "positions": tokens, "rows": shape.vocabulary}
    ours = forward_flops(shape, **asked)
    assert ours == pytest.approx(forward, rel=0.002)
    # Nothing below the first layer is trained, so its projections' inputs have no gradient.
    first = sum(outputs * inputs + RANK * inputs for outputs, inputs in list(shape.linear.values())[:3])
    assert step_flops(shape, trainable, **asked) - 2 * tokens * first == pytest.approx(step, rel=0.002)


def test_the_floor_is_two_or_four_operations_a_parameter():
    shape = known_shape("google/gemma-2b")
    assert shape.backbone == 18 * 2048 * (2 * 2048 + 2 * 256 + 3 * 16_384)
    scoring = floor_flops(shape, 100, 4, 2, training=False)
    assert scoring == 2 * 100 * shape.backbone + 2 * 4 * 2 * 2048
    assert floor_flops(shape, 100, 4, 2, training=True) == 2 * scoring
    assert scoring < forward_flops(shape, 100, 25, 4, 2)
