"""The two geometries of one update, and how it begins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerastune.errors import AdapterError
from kerastune.lora import Factors, initial_a, initial_native_a, native_to_peft, peft_to_native

sizes = st.tuples(*[st.integers(1, 5)] * 4)


@given(sizes=sizes, seed=st.integers(0, 99), alpha=st.floats(0.5, 64))
def test_native_in_pefts_geometry_is_the_same_product_and_comes_back(sizes, seed, alpha):
    heads, width, rank, size = sizes
    draw = np.random.default_rng(seed)
    a = draw.standard_normal((heads, width, rank)).astype(np.float32)
    b = draw.standard_normal((rank, size)).astype(np.float32)
    peft = native_to_peft(a, b, alpha)
    assert (peft.a.shape, peft.b.shape) == ((heads * rank, width), (heads * size, heads * rank))
    assert peft.alpha / peft.rank == pytest.approx(alpha / rank)
    product = np.einsum("hir,ro->hoi", a, b).reshape(heads * size, width)
    np.testing.assert_allclose(peft.b @ peft.a, product, rtol=1e-5, atol=1e-5)
    again = peft_to_native(peft, heads, "m")
    np.testing.assert_array_equal(again[0], a)
    np.testing.assert_array_equal(again[1], b)


def test_an_update_of_another_form_is_refused():
    b = np.ones((4, 4), np.float32)
    with pytest.raises(AdapterError, match=r"layers\.0\.q: B is not block-diagonal over 2 heads"):
        peft_to_native(Factors(a=np.ones((4, 3), np.float32), b=b, alpha=1.0), 2, "layers.0.q")
    with pytest.raises(AdapterError, match="not block-diagonal"):
        peft_to_native(
            Factors(a=np.ones((3, 3), np.float32), b=np.eye(4, 3, dtype=np.float32), alpha=1), 2, "q"
        )


def test_beginnings_depend_on_module_and_seed_alone():
    one = initial_a("layers.0.q", 64, 8, seed=1)
    np.testing.assert_array_equal(one, initial_a("layers.0.q", 64, 8, seed=1))
    assert not np.array_equal(one, initial_a("layers.1.q", 64, 8, seed=1))
    assert not np.array_equal(one, initial_a("layers.0.q", 64, 8, seed=2))
    assert (one.shape, one.dtype) == ((8, 64), np.float32)


def test_beginnings_have_their_frameworks_spread():
    # uniform within a limit: its standard deviation is limit / sqrt(3)
    peft = initial_a("m", 400, 50, seed=0)
    assert abs(peft).max() <= 1 / 20
    assert peft.std() == pytest.approx(1 / 20 / np.sqrt(3), rel=0.02)
    native = initial_native_a("m", (4, 100, 50), seed=0)
    limit = np.sqrt(6 / 400)
    assert abs(native).max() <= limit
    assert native.std() == pytest.approx(limit / np.sqrt(3), rel=0.02)
