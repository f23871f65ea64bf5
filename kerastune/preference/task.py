"""The preference task: a row is a prompt, a chosen answer and a rejected one."""

import numbers
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kerastune.chat.messages import Dialogue
from kerastune.config import LossOn
from kerastune.errors import DataError


@dataclass(frozen=True)
class Pair:
    """One prompt with two answers, as dialogues that differ in the last message alone.

    Args:
        chosen: The dialogue with the better answer.
        rejected: The one with the other answer.
        chosen_score: What somebody gave the chosen answer, where that is known.
    """

    chosen: Dialogue
    rejected: Dialogue
    chosen_score: float | None = None


@dataclass(frozen=True, kw_only=True)
class PreferenceTask:
    """A task whose rows are pairs of answers.

    Args:
        name: The name by which flags, TOML and adapters call it.
        prompt: The column of the prompt: a text, or a list of messages that ends with the user's.
        chosen: The column of the better answer.
        rejected: The column of the other one.
        chosen_score: The column of the better answer's score, which a table may lack.
        id_column: The column that names a row.
        loss_on: What the pairs' log-probabilities are of: the answer and the token that ends it.
        max_length: The most tokens of a prompt with an answer where nothing is said.
    """

    name: str = "preference"
    prompt: str = "prompt"
    chosen: str = "chosen"
    rejected: str = "rejected"
    chosen_score: str = "chosen_score"
    id_column: str = "id"
    loss_on: LossOn = "assistant"
    max_length: int = 1024

    def pair(self, row: Mapping[str, Any]) -> Pair:
        """Make the pair of a row.

        Args:
            row: Column name -> value, as the table has it.

        Raises:
            DataError: A column is missing, empty or no text, or both answers are the same; the message does
                not name the row.

        Example:
            >>> pair = PREFERENCE.pair({"prompt": "1 + 1?", "chosen": "2", "rejected": "3"})
            >>> pair.chosen.answer, pair.rejected.answer, pair.chosen_score
            ('2', '3', None)
        """
        missing = [name for name in (self.prompt, self.chosen, self.rejected) if name not in row]
        if missing:
            raise DataError(
                f"expected the columns {self.prompt}, {self.chosen} and {self.rejected}, received "
                f"{', '.join(map(str, row)) or 'none'}; rename one to {missing[0]!r}"
            )
        prompt = row[self.prompt]
        messages = (
            prompt
            if isinstance(prompt, list)
            else [{"role": "user", "content": self._text(row, self.prompt)}]
        )
        before = Dialogue.of(messages)
        if before.answer is not None:
            raise DataError(
                f"{self.prompt!r}: expected the user to have the last word, received the role 'assistant'; "
                f"take the message off"
            )
        chosen, rejected = (
            before.with_answer(self._text(row, name)) for name in (self.chosen, self.rejected)
        )
        if str(chosen.answer).split() == str(rejected.answer).split():
            raise DataError(
                f"{self.chosen!r} and {self.rejected!r} are the same text, which prefers nothing; write "
                "another answer, or drop the row"
            )
        return Pair(chosen, rejected, self._score(row))

    def _text(self, row: Mapping[str, Any], name: str) -> str:
        text = row[name]
        if not isinstance(text, str):
            raise DataError(f"{name!r}: expected text, received {reprlib.repr(text)}; write it as text")
        if not text.strip():
            raise DataError(f"{name!r}: empty; write a text, or drop the row")
        return text

    def _score(self, row: Mapping[str, Any]) -> float | None:
        score = row.get(self.chosen_score)
        if score is None:
            return None
        try:
            number = float(score) if isinstance(score, str) else score
        except ValueError:
            number = score
        if isinstance(number, bool) or not isinstance(number, numbers.Real):
            raise DataError(f"{self.chosen_score!r}: expected a number, received {reprlib.repr(score)}")
        return float(number)


PREFERENCE = PreferenceTask()
