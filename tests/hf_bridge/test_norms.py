"""Norms in one step of autograd: transformers' values, autograd's gradients."""

import copy

import pytest
import torch
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from hf_bridge.norms import fuse_norms

CLOSE = {torch.float32: 1e-6, torch.bfloat16: 2**-7}


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize("kind", [Gemma3RMSNorm, LlamaRMSNorm])
def test_values_are_transformers_and_gradients_are_autograds(kind, dtype):
    torch.manual_seed(0)
    norm = kind(48, eps=1e-3)
    torch.nn.init.normal_(norm.weight)
    norm = norm.to(dtype).requires_grad_(False)
    fused = torch.nn.Sequential(copy.deepcopy(norm))
    assert fuse_norms(fused) == 1
    # Small enough for epsilon to count, and large; three axes, and rows that are not laid end to end.
    sizes = torch.tensor([0.01, 30.0]).view(2, 1, 1, 1)
    inputs = (torch.randn(2, 5, 3, 48) * sizes).to(dtype).transpose(1, 2)
    by = torch.randn_like(inputs)
    found = []
    for module in (norm, fused):
        inputs = inputs.detach().requires_grad_(True)
        outputs = module(inputs)
        found.append((outputs, *torch.autograd.grad(outputs, inputs, by)))
    (expected, by_expected), (values, by_values) = found
    assert torch.equal(values, expected)
    for row in range(2):
        largest = by_expected[row].abs().max()
        assert (by_values[row] - by_expected[row]).abs().max() <= CLOSE[dtype] * largest
    assert by_values.dtype == dtype


def test_what_is_called_a_norm_and_computes_another_thing_is_left_alone():
    class CenteredRMSNorm(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.eps = torch.nn.Parameter(torch.ones(8)), 1e-6

        def forward(self, inputs):
            return self.weight * (inputs - inputs.mean()) / inputs.std()

    model = torch.nn.Sequential(CenteredRMSNorm())
    assert fuse_norms(model) == 0
    assert "forward" not in vars(model[0])
