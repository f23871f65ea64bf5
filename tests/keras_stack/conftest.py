"""The tiny Gemma 3 on the Keras stack."""

import numpy as np
import pytest

from kerastune.batching import make_batch
from kerastune.config import ModelSpec
from kerastune.encoding import Encoder, Encodings
from kerastune.keras_stack import KerasStack
from kerastune.lora import Factors
from kerastune.task import get_task
from kerastune.template import get_template


@pytest.fixture
def make_stack(tiny_model):
    """Load the tiny model anew on JAX in float32."""

    def make(**spec) -> KerasStack:
        return KerasStack(ModelSpec(**({"dtype": "float32"} | spec)), tiny_model)

    return make


@pytest.fixture
def encodings(tiny_tokenizer, reviews) -> Encodings:
    task = get_task("review-sentiment")
    encoder = Encoder(
        task=task, template=get_template(task.template), tokenizer=tiny_tokenizer, max_length=96
    )
    return encoder.encode(reviews)


@pytest.fixture
def batch(encodings):
    """The ten reviews as one batch."""
    length = max(map(len, encodings.examples))
    answers = max(len(example.completion_ids) for example in encodings.examples)
    return make_batch(encodings.examples, rows=10, length=length, pad_id=0, answers=answers)


@pytest.fixture
def trained_factors():
    """Factors with a B that is not zero, for an adapter that does something."""

    def make(stack: KerasStack) -> dict[str, Factors]:
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
