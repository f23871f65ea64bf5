"""A pair's two sides as token ids: one prompt, whatever had to be left out of it, and the answers whole."""

from kerastune.chat.encoders import DialogueEncoder
from kerastune.encoding import Encoded
from kerastune.preference.pairs import EncodedPair
from kerastune.preference.task import Pair


def encode_pair(encoder: DialogueEncoder, pair: Pair, example_id: str) -> EncodedPair:
    """Encode a pair.

    A prompt that is too long loses what dialogues lose (oldest turns, or the end of the one message); both
    sides lose the same, as much as the longer answer asks for.

    Args:
        encoder: The encoder, which trains the last answer alone.
        pair: The pair.
        example_id: What messages call it.

    Raises:
        EncodingError: The prompt and an answer do not fit, or an answer merges with the prompt.
    """
    chosen, rejected = encoder.encode(pair.chosen, example_id), encoder.encode(pair.rejected, example_id)
    if chosen.prompt_ids != rejected.prompt_ids:
        fitted = [encoder.fit(side, example_id).before_answer for side in (pair.chosen, pair.rejected)]
        prompt = min(fitted, key=lambda dialogue: dialogue.characters)
        lost = pair.chosen.before_answer.characters - prompt.characters
        chosen, rejected = (
            _with_loss(encoder.encode(prompt.with_answer(str(side.answer)), example_id), lost)
            for side in (pair.chosen, pair.rejected)
        )
    return EncodedPair(chosen, rejected)


def _with_loss(encoded: Encoded, lost: int) -> Encoded:
    return Encoded(encoded.example_id, encoded.prompt_ids, encoded.completion_ids, lost)
