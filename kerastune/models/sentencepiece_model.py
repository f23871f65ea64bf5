"""Write a SentencePiece model from a vocabulary, for those who read no tokenizer.json."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kerastune.extras import require

_UNKNOWN, _CONTROL = 2, 3


def write_sentencepiece(
    tokens: list[str],
    scores: npt.NDArray[np.float32],
    types: npt.NDArray[np.int32],
    dummy_prefix: bool,
    special_ids: Mapping[str, int],
    path: Path,
) -> None:
    """Write a SentencePiece BPE model with byte fallback that leaves the text as it is.

    Args:
        tokens: The pieces, in the order of their ids.
        scores: A score a piece; the higher is merged first.
        types: A SentencePiece type a piece.
        dummy_prefix: Whether a space is put before every text.
        special_ids: The ids of `bos`, `eos`, `unk` and `pad`, -1 where there is none.
        path: The file to write.
    """
    proto = require("sentencepiece.sentencepiece_model_pb2", "gemma").ModelProto()
    unknown = special_ids["unk"] if special_ids["unk"] >= 0 else 0
    for number, (token, score, type_) in enumerate(zip(tokens, scores.tolist(), types.tolist(), strict=True)):
        # TensorFlow Text refuses a model without exactly one piece of type UNKNOWN.
        kind = _UNKNOWN if number == unknown else _CONTROL if type_ == _UNKNOWN else type_
        proto.pieces.add(piece=token, score=score, type=kind)
    trainer, normalizer = proto.trainer_spec, proto.normalizer_spec
    trainer.model_type = 2  # BPE
    trainer.vocab_size = len(tokens)
    trainer.byte_fallback = True
    trainer.unk_id = unknown
    trainer.unk_piece = tokens[unknown]
    for role in ("bos", "eos", "pad"):
        number = special_ids[role]
        setattr(trainer, f"{role}_id", number)
        if number >= 0:
            setattr(trainer, f"{role}_piece", tokens[number])
    normalizer.name = "identity"
    normalizer.add_dummy_prefix = dummy_prefix
    normalizer.remove_extra_whitespaces = False
    normalizer.escape_whitespaces = True
    path.write_bytes(proto.SerializeToString(deterministic=True))
