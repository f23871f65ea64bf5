"""How good texts are beside reference texts: the field's measures, with what they are stated in words."""

import importlib.metadata
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import regex

from kerastune.errors import DataError
from kerastune.extras import require

_NGRAM = 4


@dataclass(frozen=True, kw_only=True)
class TextMetrics:
    """What answers came to beside the reference answers.

    Args:
        rows: How many answers.
        perplexity: exp of the mean cross-entropy of the trained tokens of the references.
        rouge_l: Mean F1 of the longest common subsequence of words, from 0 to 100.
        bleu: BLEU of the whole, over characters, from 0 to 100.
        chrf: chrF2 of the whole, from 0 to 100.
        exact_match: Share of answers that are their reference but for spaces at the ends and NFC.
        tokens: Mean length of the answers in tokens.
        characters: Mean length in characters.
        never_stopped: Share of answers that were cut off at the most tokens allowed.
        repetition: Mean share of an answer's 4-grams of tokens that are repetitions; see `repetition_rate`.
    """

    rows: int
    perplexity: float
    rouge_l: float
    bleu: float
    chrf: float
    exact_match: float
    tokens: float
    characters: float
    never_stopped: float
    repetition: float

    def as_dict(self) -> dict[str, float]:
        """The measures by name."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Generated answers beside their references.

    Args:
        texts: The answers' texts.
        ids: Their tokens, without the one that ended them.
        stopped: Whether each ended by itself.
        references: The reference answers.
    """

    texts: tuple[str, ...]
    ids: tuple[tuple[int, ...], ...]
    stopped: tuple[bool, ...]
    references: tuple[str, ...]


def measure_texts(answers: Answers, loss: float) -> TextMetrics:
    """Measure answers.

    Args:
        answers: One answer at least.
        loss: The mean cross-entropy of the references' trained tokens, in nats.

    Raises:
        DataError: There is no answer.
        MissingExtraError: rouge-score or sacrebleu is not installed.
    """
    if not answers.texts:
        raise DataError("expected one answer at least to measure, received none")
    count = len(answers.texts)
    pairs = list(zip(answers.references, answers.texts, strict=True))
    return TextMetrics(
        rows=count,
        perplexity=math.exp(min(loss, 700.0)),  # beyond that it is no float
        rouge_l=rouge_l(answers.texts, answers.references),
        bleu=_bleu().corpus_score(list(answers.texts), [list(answers.references)]).score,
        chrf=_chrf().corpus_score(list(answers.texts), [list(answers.references)]).score,
        exact_match=sum(_plain(one) == _plain(other) for one, other in pairs) / count,
        tokens=sum(map(len, answers.ids)) / count,
        characters=sum(map(len, answers.texts)) / count,
        never_stopped=1 - sum(answers.stopped) / count,
        repetition=sum(map(repetition_rate, answers.ids)) / count,
    )


def definitions() -> dict[str, str]:
    """What each measure is, with the library and its settings: for metrics.json."""
    return {
        "perplexity": "exp of the mean cross-entropy of the trained tokens (answers and their end tokens)",
        "rouge_l": "mean ROUGE-L F1 over words, runs of letters and digits of any script, "
        f"rouge-score {importlib.metadata.version('rouge-score')}",
        "bleu": f"sacrebleu over characters, which Korean spacing does not move: {_signature(_bleu())}",
        "chrf": f"sacrebleu: {_signature(_chrf())}",
        "exact_match": "share of answers equal to the reference, NFC, spaces at the ends taken off",
        "never_stopped": "share of answers cut off at the most tokens allowed",
        "repetition": f"mean share of an answer's {_NGRAM}-grams of tokens that occurred before in it "
        "(seq-rep-4 of Welleck et al. 2019, arXiv:1908.04319)",
    }


def rouge_l(texts: Sequence[str], references: Sequence[str]) -> float:
    """Mean ROUGE-L F1 (Lin 2004) from 0 to 100, over words of letters and digits of any script.

    rouge-score's own tokenizer keeps a to z alone, which leaves nothing of a Korean text.

    Raises:
        MissingExtraError: rouge-score is not installed.

    Example:
        >>> rouge_l(["오늘은 날씨가 맑다"], ["오늘은 맑다"])
        80.0
    """
    scorer = require("rouge_score.rouge_scorer", "metrics").RougeScorer(["rougeL"], tokenizer=_Words())
    scores = [
        scorer.score(target=reference, prediction=text)["rougeL"].fmeasure
        for text, reference in zip(texts, references, strict=True)
    ]
    return 100 * float(sum(scores)) / len(scores)


def repetition_rate(ids: Sequence[int]) -> float:
    """The share of an answer's 4-grams of tokens that occurred before in it (arXiv:1908.04319, seq-rep-4).

    Returns:
        0 where none is repeated, and where the answer is shorter than a 4-gram.

    Example:
        >>> repetition_rate([1, 2, 3, 4, 5]), repetition_rate([7] * 11)
        (0.0, 0.875)
    """
    grams = [tuple(ids[start : start + _NGRAM]) for start in range(len(ids) - _NGRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


class _Words:
    """rouge-score's tokenizer: words of letters and digits of any script."""

    def tokenize(self, text: str) -> list[str]:
        """Take the words out of a text."""
        return list(regex.findall(r"[\p{L}\p{M}\p{N}]+", unicodedata.normalize("NFC", text).lower()))


def _bleu() -> Any:
    return require("sacrebleu.metrics", "metrics").BLEU(tokenize="char")


def _chrf() -> Any:
    return require("sacrebleu.metrics", "metrics").CHRF()


def _signature(metric: Any) -> str:
    # Known once something was scored.
    metric.corpus_score(["가"], [["가"]])
    return str(metric.get_signature())


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()
