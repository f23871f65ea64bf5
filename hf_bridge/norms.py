"""Root mean square norms in one step of autograd, where transformers' take a dozen."""

from types import MethodType
from typing import Any

import torch
from torch import Tensor


class _Norm(torch.autograd.Function):  # type: ignore[misc]  # torch has no types here
    """`scale x / sqrt(mean(x^2) + epsilon)` of a frozen scale, differentiated by x (arXiv:1910.07467)."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, by_transformers: Any, scale: Tensor, epsilon: float) -> Tensor:
        """Compute the norm as transformers does.

        Args:
            ctx: Autograd's.
            inputs: `[..., width]`, in the base's dtype.
            by_transformers: The module's own forward pass.
            scale: `[width] float32`, which the backward pass multiplies by.
            epsilon: What is added to the mean square.
        """
        ctx.save_for_backward(inputs, scale)
        ctx.epsilon = epsilon
        return by_transformers(inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Compute the gradient of the inputs, in float32 and rounded once."""
        inputs, scale = ctx.saved_tensors
        x, by_scaled = inputs.float(), gradients[0].float() * scale
        squares = torch.linalg.vecdot(x, x).unsqueeze(-1) / x.shape[-1] + ctx.epsilon
        along = torch.linalg.vecdot(by_scaled, x).unsqueeze(-1) / (x.shape[-1] * squares)
        by_inputs = torch.addcmul(by_scaled, x, along, value=-1).mul_(squares.rsqrt())
        return by_inputs.to(inputs.dtype), None, None, None


def fuse_norms(model: torch.nn.Module) -> int:
    """Let the norms of a frozen model be differentiated in one step.

    A norm is known by what it computes: one that is called so and does not return a scaled root mean square
    norm of a probe is left as it is.

    Args:
        model: A model of transformers; the `forward` of its norms is replaced.

    Returns:
        How many norms there are.
    """
    norms = [module for module in model.modules() if type(module).__name__.endswith("RMSNorm")]
    return sum(map(_fuse, norms))


def _fuse(norm: Any) -> bool:
    epsilon = getattr(norm, "eps", getattr(norm, "variance_epsilon", None))
    weight = getattr(norm, "weight", None)
    if epsilon is None or weight is None or weight.device.type == "meta":
        return False
    by_transformers = norm.forward
    with torch.no_grad():
        ones = torch.ones_like(weight, dtype=torch.float32)
        # Gemma's scale is 1 + weight, the others' weight: ask the norm itself.
        scale = by_transformers(ones) * (1 + epsilon) ** 0.5
        probe = torch.linspace(-1, 2, len(weight), device=weight.device)
        expected = scale * probe * (probe.square().mean() + epsilon).rsqrt()
        if not torch.allclose(by_transformers(probe), expected, rtol=1e-4, atol=1e-5):
            return False

    def forward(_: Any, inputs: Tensor) -> Any:
        if not inputs.requires_grad:
            return by_transformers(inputs)
        return _Norm.apply(inputs, by_transformers, scale, epsilon)

    norm.forward = MethodType(forward, norm)
    return True
