"""McNemar's test against SciPy's distributions."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from kerastune.errors import DataError
from kerastune.evaluation import mcnemar


def rows(both, first, second, neither):
    counts = [both, first, second, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 3), st.integers(1, 3))
def test_against_scipy(b, c, both, neither):
    test = mcnemar(*rows(both, b, c, neither))
    assert (test.both_right, test.only_first, test.only_second, test.both_wrong) == (both, b, c, neither)
    if b + c < 25:
        assert test.exact
        assert test.statistic is None
        assert test.p_value == pytest.approx(scipy.stats.binomtest(b, b + c).pvalue if b + c else 1.0)
    else:
        assert not test.exact
        assert test.p_value == pytest.approx(scipy.stats.chi2.sf(test.statistic, 1))
        assert test.statistic == pytest.approx(max(abs(b - c) - 1, 0) ** 2 / (b + c))


def test_the_order_does_not_matter():
    first, second = rows(5, 20, 9, 2)
    one, other = mcnemar(first, second), mcnemar(second, first)
    assert one.p_value == other.p_value
    assert (one.only_first, one.only_second) == (other.only_second, other.only_first)


def test_two_that_are_alike():
    assert mcnemar([True, False], [True, False]).p_value == 1.0


@pytest.mark.parametrize("second", [[True], [[True, True]], []])
def test_other_rows_are_refused(second):
    with pytest.raises(DataError, match="expected two classifiers on the same rows"):
        mcnemar([True, False] if second else [], second)
