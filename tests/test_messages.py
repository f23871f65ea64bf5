"""Messages between processes: what goes in comes out, and nothing that runs does."""

from dataclasses import fields, is_dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerastune.config import LoraSpec, ModelSpec, TrainSpec
from kerastune.decoding import GenerationSpec
from kerastune.errors import ConfigError, KerastuneError, MissingExtraError, ModelError
from kerastune.group import FailedElsewhereError, described, rebuilt
from kerastune.lora import Factors
from kerastune.messages import decode, encode
from kerastune.preference.loss import PreferenceLoss, Rewards

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
keys = st.text() | st.integers()
values = st.recursive(
    plain, lambda inner: st.lists(inner).map(tuple) | st.dictionaries(keys, inner), max_leaves=12
)


@given(st.dictionaries(st.text(), values))
def test_plain_values_come_back_as_they_were(message):
    assert decode(encode(message)) == message


@given(st.sampled_from(["float32", "float64", "int32", "int64", "uint8", "bool"]), st.integers(0, 3))
def test_arrays_come_back_with_type_and_shape(dtype, axes):
    array = np.arange(2**axes).reshape((2,) * axes).astype(dtype)
    found = decode(encode({"array": array, "turned": (array.T,)}))
    for value, expected in ((found["array"], array), (found["turned"][0], array.T)):
        assert (value.dtype, value.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(value, expected)


def test_what_stacks_take_comes_back_whole(batch):
    factors = Factors(np.ones((2, 3), np.float32), np.zeros((4, 2), np.float32), 8.0)
    sent = {
        "batches": (batch,),
        "factors": {"layers.0": factors},
        "specs": (
            ModelSpec(stack="hf", shard="fsdp"),
            LoraSpec(targets=("query", "value")),
            TrainSpec(loss_on="all"),
            GenerationSpec(max_new_tokens=3, stop_ids=(1, 2), pad_id=0),
            PreferenceLoss(),
            Rewards(pairs=1, accuracy=1.0, chosen=0.5, rejected=0.25),
        ),
    }
    found = decode(encode(sent))
    assert found["specs"] == sent["specs"]
    for mine, expected in ((found["batches"][0], batch), (found["factors"]["layers.0"], factors)):
        assert is_dataclass(mine)
        for field in fields(mine):
            np.testing.assert_array_equal(getattr(mine, field.name), getattr(expected, field.name))


def test_a_kind_that_is_none_of_ours_is_not_made():
    content = encode({"spec": LoraSpec()}).replace(b"LoraSpec", b"Callable")
    with pytest.raises(KeyError, match="Callable"):
        decode(content)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ModelError("no model"), ModelError),
        (ConfigError("no option"), ConfigError),
        (MissingExtraError("peft", "hf"), KerastuneError),
        (MemoryError("no room"), MemoryError),
        (FailedElsewhereError("not here"), FailedElsewhereError),
        (ZeroDivisionError("no number"), RuntimeError),
    ],
)
def test_an_error_is_of_its_type_elsewhere_too(error, kind):
    found = rebuilt(decode(encode(described(error, 3))))
    assert type(found) is kind
    assert f"process 3: {error}" in str(found)
