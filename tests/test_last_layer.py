"""Behind its attention the last layer computes what is read, on both stacks, and is as it was afterwards."""

import numpy as np
import pytest

from hf_bridge import HfStack
from hf_bridge.last_layer import last_layer_at
from kerastune.batching import Batch, make_batch
from kerastune.config import LoraSpec, ModelSpec
from kerastune.encoding import Encoded
from kerastune.keras_stack import KerasStack
from tests.tiny_models import ARCHITECTURES


@pytest.fixture
def batch() -> Batch:
    rows = [Encoded("a", (5, 6, 7, 8, 9), (10, 11)), Encoded("b", (12, 13), (14,))]
    return make_batch(rows, rows=2, length=8, pad_id=0, answers=2)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_hugging_face_computes_each_answer_token_and_no_other(make_tiny_model, batch, architecture):
    import torch

    stack = HfStack(ModelSpec(stack="hf", dtype="float32"), make_tiny_model(architecture=architecture))
    stack.add_lora(LoraSpec(rank=2, targets=("all",)), seed=0)
    model = stack._model
    layers, seen = model.base_model.layers, []
    for layer in layers:
        layer.mlp.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape[:-1])))
    losses = stack.token_losses(batch)
    # The longest row has seven tokens, which are computed in steps of four.
    assert seen == [(2, 8)] * (len(layers) - 1) + [(1, 3)]

    whole = torch.log_softmax(torch.from_numpy(stack.logits(batch)), dim=-1)
    places = torch.from_numpy(batch.answer_positions).long()
    expected = [
        [-float(whole[row, places[row, n], int(batch.answer_ids[row, n])]) for n in range(2)]
        for row in range(2)
    ]
    np.testing.assert_allclose(losses, np.array(expected) * batch.answer_weights, rtol=1e-4, atol=1e-5)

    with pytest.raises(ZeroDivisionError), last_layer_at(model, torch.zeros(1), torch.zeros(1)):
        raise ZeroDivisionError
    last = layers[-1]
    assert not any(part._forward_pre_hooks for part in (last, last.input_layernorm, last.self_attn.o_proj))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_keras_computes_each_answer_position_and_no_other(make_tiny_model, batch, architecture):
    stack = KerasStack(ModelSpec(dtype="float32"), make_tiny_model(architecture=architecture))
    stack.add_lora(LoraSpec(rank=2, targets=("all",)), seed=0)
    block, final = stack.backbone.transformer_layers[-1], stack.backbone.layer_norm
    parts = [block, final, *block._flatten_layers(include_self=False)]
    before = [dict(vars(part)) for part in parts]
    normed, seen = final.call, []
    final.call = lambda states: [seen.append(tuple(states.shape)), normed(states)][1]
    stack.token_losses(batch)
    stack.label_logits(batch, [3, 4])
    stack.logits(batch)
    assert [shape[:2] for shape in seen] == [(2, 2), (2, 1), (2, 8)]
    del final.call
    for part, own in zip(parts, before, strict=True):
        assert vars(part).get("call") is own.get("call")
