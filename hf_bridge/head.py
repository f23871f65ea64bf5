"""The language-model head where it is needed, and nowhere else.

More than half of a small Gemma is its head, so logits where no answer is would cost more than the model.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kerastune.errors import ModelError


class Head:
    """A model's output layer, applied to chosen hidden states.

    Args:
        model: A causal language model of transformers.

    Raises:
        ModelError: The model does something else to its logits than this.
    """

    def __init__(self, model: Any) -> None:
        self._linear = model.get_output_embeddings()
        self._soft_cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
        self._require_same(model)

    def __call__(self, hidden: Tensor, token_ids: Sequence[int] | None = None) -> Tensor:
        """Compute logits.

        Args:
            hidden: `[N, width]`.
            token_ids: The tokens whose logits are wanted; the whole vocabulary's when None.

        Returns:
            `[N, tokens] float32`.
        """
        weight, bias = self._linear.weight, self._linear.bias
        if token_ids is not None:
            rows = torch.tensor(list(token_ids), device=weight.device)
            weight, bias = weight[rows], None if bias is None else bias[rows]
        logits = torch.nn.functional.linear(hidden.to(weight.device), weight, bias)
        if self._soft_cap is not None:
            logits = torch.tanh(logits / self._soft_cap) * self._soft_cap
        return logits.float()

    def _require_same(self, model: Any) -> None:
        """Try it on three tokens: an architecture may scale its logits in a way of its own."""
        token_ids = torch.arange(3, device=model.device)[None]
        mask = torch.ones_like(token_ids)
        with torch.no_grad():
            expected = model(input_ids=token_ids, attention_mask=mask, use_cache=False).logits[0].float()
            hidden = model.base_model(input_ids=token_ids, attention_mask=mask, use_cache=False)
            found = self(hidden.last_hidden_state[0])
        if not torch.allclose(
            found, expected.to(found.device), rtol=1e-3, atol=1e-3 * float(expected.abs().max())
        ):
            raise ModelError(
                f"{type(model).__name__}: its logits are not its output layer's, so its answers cannot be "
                "scored here; use another architecture"
            )
