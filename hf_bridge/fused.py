"""A linear layer and its update in one step of autograd, where PEFT takes a dozen.

On a CPU, and for small models on a GPU, a LoRA step is thousands of small operations, many of them PEFT's
casts: it multiplies the update in float32 and rounds the sum. Here the float32 factors are rounded once, the
update is added onto the layer's output inside the product, and the gradients are written out by hand.
"""

from types import MethodType
from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import Tensor


class _AdaptedLinear(torch.autograd.Function):  # type: ignore[misc]  # torch has no types here
    """`W x + bias + scale B A x`, of a frozen W, differentiated by x, A and B."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        """Compute the layer.

        Args:
            ctx: Autograd's.
            inputs: `[..., in]`, in the base's dtype.
            weight: `[out, in]`, frozen.
            bias: `[out]`, frozen.
            a: `[rank, in] float32`.
            b: `[out, rank] float32`.
            scale: What the update is multiplied by.

        Returns:
            `[..., out]`, in the base's dtype.
        """
        rows = inputs.reshape(-1, inputs.shape[-1])
        a, b = a.to(rows.dtype), b.to(rows.dtype)
        down = rows @ a.T
        outputs = torch.nn.functional.linear(rows, weight, bias).addmm_(down, b.T, alpha=scale)
        ctx.save_for_backward(rows, weight, a, b, down)
        ctx.scale = scale
        return outputs.view(*inputs.shape[:-1], outputs.shape[-1])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Compute the gradients of the inputs and of the factors, these in float32."""
        rows, weight, a, b, down = ctx.saved_tensors
        (by_outputs,) = gradients
        by_rows = by_outputs.reshape(-1, by_outputs.shape[-1])
        by_down = (by_rows @ b).mul_(ctx.scale)
        by_b = (by_rows.T @ down).float().mul_(ctx.scale)
        by_a = (by_down.T @ rows).float()
        by_inputs = None
        if ctx.needs_input_grad[0]:  # not under the first layer, whose inputs are frozen
            by_inputs = (by_rows @ weight).addmm_(by_down, a)
            by_inputs = by_inputs.view(*by_outputs.shape[:-1], by_inputs.shape[-1])
        return by_inputs, None, None, by_a, by_b, None


def fuse(layer: Any, name: str) -> None:
    """Let an adapted layer of PEFT's compute in one step wherever it has nothing else to do.

    Dropout in training, DoRA, a quantised base, an adapter that is switched off or merged, and several
    adapters at once are left to PEFT.

    Args:
        layer: The layer; its `forward` is replaced.
        name: The adapter's name.
    """
    base = layer.get_base_layer()
    if type(layer) is not Linear or type(base) is not torch.nn.Linear or layer.use_dora.get(name):
        return
    by_peft = layer.forward
    dropout, down, up = layer.lora_dropout[name], layer.lora_A[name], layer.lora_B[name]
    dropped = isinstance(dropout, torch.nn.Dropout)

    def forward(self: Any, inputs: Tensor, *args: Any, **kwargs: Any) -> Any:
        plain = not (args or kwargs or self.disable_adapters or self.merged or (dropped and dropout.training))
        if not plain or self.active_adapters != [name]:
            return by_peft(inputs, *args, **kwargs)
        scale = float(self.scaling[name])
        return _AdaptedLinear.apply(inputs, base.weight, base.bias, down.weight, up.weight, scale)

    layer.forward = MethodType(forward, layer)
