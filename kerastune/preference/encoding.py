"""A pair's two sides as token ids: one prompt, whatever had to be left out of it, and the answers whole."""

from dataclasses import replace

from kerastune.chat.encoders import DialogueEncoder
from kerastune.preference.pairs import EncodedPair
from kerastune.preference.task import Pair


def encode_pair(encoder: DialogueEncoder, pair: Pair, example_id: str) -> EncodedPair:
    """Encode a pair; see `fit_pair` for one that is too long.

    Args:
        encoder: The encoder, which trains the last answer alone.
        pair: The pair.
        example_id: What messages call it.

    Raises:
        EncodingError: The prompt and an answer do not fit, or an answer merges with the prompt.
    """
    kept = fit_pair(encoder, pair, example_id)
    lost = pair.chosen.before_answer.characters - kept.chosen.before_answer.characters
    chosen, rejected = (
        replace(encoder.encode(side, example_id), characters_lost=lost)
        for side in (kept.chosen, kept.rejected)
    )
    return EncodedPair(chosen, rejected)


def fit_pair(encoder: DialogueEncoder, pair: Pair, example_id: str = "") -> Pair:
    """What `encode_pair` keeps of a pair.

    A prompt that is too long loses what dialogues lose (oldest turns, or the end of the one message); both
    sides lose the same, as much as the longer answer asks for.

    Raises:
        EncodingError: The prompt and an answer do not fit.
    """
    sides = (pair.chosen, pair.rejected)
    fitted = [encoder.fit(side, example_id).before_answer for side in sides]
    prompt = min(fitted, key=lambda dialogue: dialogue.characters)
    chosen, rejected = (prompt.with_answer(str(side.answer)) for side in sides)
    return replace(pair, chosen=chosen, rejected=rejected)
