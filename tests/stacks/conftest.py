"""The tiny Gemma 3 on either stack."""

import numpy as np
import pytest

from kerastune.config import ModelSpec
from kerastune.lora import Factors
from kerastune.stack import Stack, load_stack


@pytest.fixture(params=["keras", "hf"])
def stack_name(request) -> str:
    """Each stack in turn; what is tested here holds for both."""
    return request.param


@pytest.fixture
def make_stack(tiny_model, stack_name):
    """Load the tiny model anew in float32."""

    def make(**spec) -> Stack:
        return load_stack(ModelSpec(**({"stack": stack_name, "dtype": "float32"} | spec)), tiny_model)

    return make


@pytest.fixture
def trained_factors():
    """Factors with a B that is not zero, for an adapter that does something."""

    def make(stack: Stack) -> dict[str, Factors]:
        draw = np.random.default_rng(3)
        return {
            module: Factors(
                a=update.a,
                b=np.where(update.b == 0, 0.2 * draw.standard_normal(update.b.shape), 0).astype(np.float32),
                alpha=update.alpha,
            )
            for module, update in stack.get_adapter().items()
        }

    return make
