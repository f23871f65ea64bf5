"""What the tests of every data set under data/ ask of a file and of its texts."""

import unicodedata
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent.parent / "data"


def plain_lines(path: Path) -> list[str]:
    """The lines of a file that is UTF-8 in NFC without a byte order mark, with LF after every line."""
    text = path.read_bytes().decode("utf-8")
    assert unicodedata.is_normalized("NFC", text)
    assert not text.startswith("\ufeff")
    assert "\r" not in text
    assert text.endswith("\n")
    return text.removesuffix("\n").split("\n")


def near_pairs(texts: list[str], threshold: float) -> list[tuple[str, str]]:
    """Pairs of texts whose sets of character trigrams have a Jaccard index over the threshold."""
    from scipy.sparse import triu
    from sklearn.feature_extraction.text import CountVectorizer

    trigrams = CountVectorizer(analyzer="char", ngram_range=(3, 3), binary=True, lowercase=False)
    sets = trigrams.fit_transform(texts).astype(np.int32)
    sizes = np.asarray(sets.sum(axis=1)).ravel()
    shared = triu(sets @ sets.T, k=1).tocoo()
    jaccard = shared.data / (sizes[shared.row] + sizes[shared.col] - shared.data)
    near = jaccard > threshold
    return [(texts[a], texts[b]) for a, b in zip(shared.row[near], shared.col[near], strict=True)]
