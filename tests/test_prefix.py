"""The beginning that prompts share."""

from hypothesis import given
from hypothesis import strategies as st

from kerastune.prefix import pays, shared_prefix

IDS = st.lists(st.integers(0, 2), min_size=1, max_size=8).map(tuple)


@given(IDS, st.lists(IDS, min_size=1, max_size=5))
def test_it_is_the_longest_that_leaves_a_token(beginning, rest):
    prompts = [beginning + ids for ids in rest]
    found = shared_prefix(prompts)
    assert found[: len(beginning)] == beginning
    assert all(prompt[: len(found)] == found and len(prompt) > len(found) for prompt in prompts)
    next_tokens = {prompt[len(found)] for prompt in prompts}
    assert len(next_tokens) > 1 or min(map(len, prompts)) == len(found) + 1


def test_it_pays_where_it_saves_enough():
    assert pays(500, 100)
    assert not pays(500, 1)
    assert not pays(4, 100_000)
