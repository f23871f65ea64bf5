"""Test rows that the training rows give away: the same text, or nearly the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from kerastune.dataset.table import Dataset

Ints = NDArray[np.int64]

_N = 3  # characters of a gram
_CODE_BITS = 21  # of a Unicode character, so that three of them make one integer
_BLOCK = 2**21  # shared grams that are looked at at a time, so that memory does not grow with the tables


@dataclass(frozen=True, eq=False, kw_only=True)
class Leakage:
    """Which test rows are, or nearly are, training rows.

    Args:
        threshold: The Jaccard index of the character trigrams from which on texts are nearly the same.
        exact: `[N]`, whether a test row's text is in train but for spaces and case.
        near: `[N]`, whether one in train is nearly the same, of the rows that are not `exact`.
        nearest: `[N]`, the training row (from 0) that a leaked row is most like, -1 for the others.
        similarity: `[N]`, the Jaccard index of the two, 1 where the row is `exact`, 0 for the others.
    """

    threshold: float
    exact: NDArray[np.bool_]
    near: NDArray[np.bool_]
    nearest: Ints
    similarity: NDArray[np.float64]

    @property
    def leaked(self) -> NDArray[np.bool_]:
        """`[N]`, whether a test row is in train, exactly or nearly."""
        return self.exact | self.near


def fold_text(text: str) -> str:
    """What is the same text to a reader: runs of spaces are one, and case does not count.

    Example:
        >>> fold_text("GOOD  맛집 ")
        'good 맛집'
    """
    return " ".join(text.split()).casefold()


def find_leakage(train: Dataset, test: Dataset, threshold: float = 0.6) -> Leakage:
    """Find the test rows whose text is in train, exactly or nearly.

    Every pair of texts that reaches the threshold is found, though few are looked at: two sets with a
    Jaccard index of t share one of the rarest `size - ceil(t * size) + 1` members of either, so only texts
    that share such a trigram are compared (C. Xiao et al., 2008, Efficient similarity joins for near
    duplicate detection, WWW, 131-140). Texts of less than three characters are compared as a whole alone.

    Args:
        train: The training rows.
        test: The test rows.
        threshold: The Jaccard index from which on texts are nearly the same, more than 0 and 1 at most.
    """
    known: dict[str, int] = {}
    for row, text in enumerate(map(fold_text, train.texts)):
        known.setdefault(text, row)
    folded = [fold_text(text) for text in test.texts]
    exact = np.array([text in known for text in folded])
    nearest = np.array([known.get(text, -1) for text in folded], np.int64)
    similarity = exact.astype(np.float64)

    asked = [text for text in dict.fromkeys(folded) if text not in known]
    places, best = _nearest_texts(list(known), asked, threshold)
    numbers = {text: number for number, text in enumerate(asked)}
    rows = np.flatnonzero(~exact)
    of_row = np.array([numbers[folded[row]] for row in rows], np.int64)
    train_rows = np.fromiter(known.values(), np.int64)
    similarity[rows] = best[of_row]
    nearest[rows] = np.where(best[of_row] > 0, train_rows[places[of_row]], -1)
    return Leakage(
        threshold=threshold,
        exact=exact,
        near=~exact & (similarity > 0),
        nearest=nearest,
        similarity=similarity,
    )


def _nearest_texts(
    known: Sequence[str], asked: Sequence[str], threshold: float
) -> tuple[Ints, NDArray[np.float64]]:
    """For each text asked for, the most similar known one and the Jaccard index; 0 under the threshold."""
    places, best = np.zeros(len(asked), np.int64), np.zeros(len(asked))
    sets = _gram_sets([*known, *asked])
    held, sought = sets.take(0, len(known)), sets.take(len(known), len(known) + len(asked))
    held_members = held.owners * sets.grams + held.members  # ascending, as owners and members are
    for rows, others in _candidates(held, sought, threshold):
        shared = _count_shared(sought, rows, others, held_members)
        jaccard = shared / (sought.sizes[rows] + held.sizes[others] - shared)
        # Ascending, the first known text last, so that the last assignment to a row is its best.
        order = np.lexsort((-others, jaccard))
        order = order[(jaccard[order] >= threshold) & (jaccard[order] > best[rows[order]])]
        best[rows[order]], places[rows[order]] = jaccard[order], others[order]
    return places, best


@dataclass(frozen=True, eq=False)
class _Sets:
    """Sets of trigrams, one a text, in one pair of arrays.

    Args:
        owners: Each member's text, ascending.
        members: The members, numbered from the rarest on, ascending within a text.
        count: How many texts there are.
        grams: How many trigrams there are in all.
    """

    owners: Ints
    members: Ints
    count: int
    grams: int

    @cached_property
    def sizes(self) -> Ints:
        return np.bincount(self.owners, minlength=self.count)

    @cached_property
    def starts(self) -> Ints:
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.int64)

    @cached_property
    def ranks(self) -> Ints:
        """Each member's place in its set, from 0."""
        return np.arange(len(self.owners)) - self.starts[self.owners]

    def take(self, first: int, end: int) -> _Sets:
        kept = slice(*np.searchsorted(self.owners, [first, end]))
        return _Sets(self.owners[kept] - first, self.members[kept], end - first, self.grams)

    def prefixes(self, threshold: float) -> Ints:
        """Places of as many of each set's rarest members as two similar sets must have one of in common."""
        # A little less than the product, lest rounding should make the prefix too short.
        length = self.sizes - np.ceil(threshold * self.sizes - 1e-9).astype(np.int64) + 1
        return np.flatnonzero(self.ranks < length[self.owners])


def _gram_sets(texts: Sequence[str]) -> _Sets:
    codes = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32).astype(np.int64)
    owners = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    last = max(len(codes) - _N + 1, 0)
    grams = sum(codes[place : place + last] << (_CODE_BITS * (_N - 1 - place)) for place in range(_N))
    inside = owners[:last] == owners[_N - 1 :]
    found, numbers = np.unique(np.asarray(grams, np.int64)[inside], return_inverse=True)
    keys = np.sort(owners[:last][inside] * max(len(found), 1) + numbers)
    owners, members = np.divmod(keys[np.diff(keys, prepend=-1) > 0], max(len(found), 1))
    frequency = np.bincount(members, minlength=len(found))
    ranks = np.empty(len(found), np.int64)
    ranks[np.argsort(frequency, kind="stable")] = np.arange(len(found))
    members = ranks[members]
    order = np.lexsort((members, owners))
    return _Sets(owners[order], members[order], len(texts), max(len(found), 1))


def _candidates(held: _Sets, sought: _Sets, threshold: float) -> Iterator[tuple[Ints, Ints]]:
    """Yield blocks of pairs (sought text, held text) that may be similar, each pair once a block."""
    posted = held.prefixes(threshold)
    posted = posted[np.argsort(held.members[posted], kind="stable")]
    members, asked = held.members[posted], sought.prefixes(threshold)
    first = np.searchsorted(members, sought.members[asked])
    count = np.searchsorted(members, sought.members[asked], "right") - first
    blocks = np.cumsum(count) // _BLOCK
    for block in np.unique(blocks[count > 0]):
        chosen = np.flatnonzero((blocks == block) & (count > 0))
        places, which = _expand(first[chosen], count[chosen])
        one, other = asked[chosen[which]], posted[places]
        rows, others = sought.owners[one], held.owners[other]
        left, right = sought.sizes[rows], held.sizes[others]
        # What can be shared at most, this being the first shared member: it and what is left of the shorter
        # rest. Where it is not the first, the pair's first one has the higher bound.
        most = np.minimum(left - sought.ranks[one], right - held.ranks[other])
        able = most * (1 + threshold) >= threshold * (left + right) - 1e-9
        pairs = np.sort(rows[able] * held.count + others[able])
        if len(pairs):
            yield np.divmod(pairs[np.diff(pairs, prepend=-1) > 0], held.count)


def _count_shared(sought: _Sets, rows: Ints, others: Ints, held_members: Ints) -> Ints:
    """How many members each pair has in common."""
    shared = np.zeros(len(rows), np.int64)
    starts, sizes = sought.starts[rows], sought.sizes[rows]
    blocks = np.cumsum(sizes) // _BLOCK
    for block in np.unique(blocks):
        chosen = np.flatnonzero(blocks == block)
        places, pair = _expand(starts[chosen], sizes[chosen])
        keys = others[chosen][pair] * sought.grams + sought.members[places]
        found = np.minimum(np.searchsorted(held_members, keys), len(held_members) - 1)
        shared[chosen] = np.bincount(pair, weights=held_members[found] == keys, minlength=len(chosen))
    return shared


def _expand(starts: Ints, lengths: Ints) -> tuple[Ints, Ints]:
    """The numbers of all ranges of these starts and lengths, and which range each is of."""
    which = np.repeat(np.arange(len(starts)), lengths)
    offsets = np.arange(len(which)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return starts[which] + offsets, which
