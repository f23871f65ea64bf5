"""Encoding: rendered text -> token ids, once, with one BOS rule and one EOS rule.

The mask of trained tokens comes from the position where our own prompt ends, never from a search in the
text or the ids: the prompt's ids must be a prefix of the whole text's ids, or the encoder says so and stops.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from kerastune.dataset import Dataset
from kerastune.errors import EncodingError
from kerastune.few_shot import Shots
from kerastune.graphemes import longest_start
from kerastune.task import Task
from kerastune.template import Template
from kerastune.tokenizer import Tokenizer

# No vocabulary in use has a piece of more characters, so a field longer than this many characters a
# token cannot fit: it is cut before the tokenizer sees it, which keeps a 1 MB comment cheap. A grapheme
# cut in two here is the last one, which does not fit either.
LONGEST_PIECE = 128


@dataclass(frozen=True)
class Encoded:
    """One example as token ids.

    Args:
        example_id: The row's id.
        prompt_ids: The prompt, beginning with the one BOS where the model has one.
        completion_ids: What follows up to the last trained token: the answer and the end token; empty where
            the row has no answer.
        characters_lost: How many characters truncation took out of the row's fields.
        untrained: Spans (start, stop) of the text's positions, after the prompt and in order, that are read
            and not trained: what the user says between two answers of a dialogue.
    """

    example_id: str
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    characters_lost: int = 0
    untrained: tuple[tuple[int, int], ...] = ()

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.prompt_ids) + len(self.completion_ids)

    @property
    def ids(self) -> tuple[int, ...]:
        """The whole text's tokens."""
        return self.prompt_ids + self.completion_ids

    @property
    def trained(self) -> tuple[int, ...]:
        """The positions of the trained tokens, in order.

        Example:
            >>> Encoded("talk", (2, 7), (8, 1, 7, 9, 1), untrained=((4, 5),)).trained
            (2, 3, 5, 6)
        """
        starts = [len(self.prompt_ids), *(stop for _, stop in self.untrained)]
        stops = [*(start for start, _ in self.untrained), len(self)]
        return tuple(itertools.chain(*map(range, starts, stops)))


@dataclass(frozen=True)
class Encodings:
    """All rows of a dataset as token ids.

    Args:
        examples: The rows, in order.
        label_ids: The ids of each label's completion as the prompts continue, without the end token.
    """

    examples: tuple[Encoded, ...]
    label_ids: tuple[tuple[int, ...], ...]

    @property
    def truncated(self) -> int:
        """How many rows lost characters."""
        return sum(example.characters_lost > 0 for example in self.examples)


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """Turns rows into token ids for training, scoring and generation alike.

    Args:
        task: The task; its verbalizer's words are the answers.
        template: The template that renders a row.
        tokenizer: The model's tokenizer.
        verbalizer: A name out of the task's verbalizers; the task's default when None.
        max_length: The most tokens of an example, BOS, answer and end token counted in, the shots not. A
            row that is too long loses characters off the end of its longest field, whole graphemes at a
            time; never the instruction, the answer cue or the label.
        shots: Rows that are shown in front of every row, whole. What they take comes on top of
            `max_length`, so that a row is cut off where it would be without them.
        context_length: The most tokens that the model reads, shots and all; None where that is not known.

    Raises:
        EncodingError: `max_length` has no room for the template and some text, a prompt is not a prefix
            of the whole text's ids, one label's ids begin with another's, a row is one of the shots, or
            shots and rows are longer than the model reads.
    """

    task: Task
    template: Template
    tokenizer: Tokenizer
    verbalizer: str | None = None
    max_length: int = 256
    shots: Shots | None = None
    context_length: int | None = None

    @property
    def completions(self) -> tuple[str, ...]:
        """Each label's completion text, in the order of the task's labels."""
        return tuple(self.template.render_completion(word) for word in self.task.words(self.verbalizer))

    def encode(self, dataset: Dataset) -> Encodings:
        """Encode every row; rows have completion ids where the dataset has labels.

        Args:
            dataset: Rows of this encoder's task.

        Returns:
            The examples in the dataset's order, and the labels' ids in context.

        Raises:
            EncodingError: See the class.
        """
        prompts, ids, lost = self._fit(dataset)
        label_ids = self._label_ids(prompts, ids, dataset.ids)
        bos = () if self.tokenizer.bos_id is None else (self.tokenizer.bos_id,)
        end = (self.tokenizer.eos_id,)
        labels = [None] * len(ids) if dataset.labels is None else dataset.labels.tolist()
        examples = tuple(
            Encoded(
                example_id=example_id,
                prompt_ids=bos + tuple(prompt_ids),
                completion_ids=() if label is None else label_ids[label] + end,
                characters_lost=lost_here,
            )
            for example_id, prompt_ids, label, lost_here in zip(dataset.ids, ids, labels, lost, strict=True)
        )
        return Encodings(examples=examples, label_ids=label_ids)

    def prompts(self, dataset: Dataset) -> tuple[str, ...]:
        """The prompts' texts as `encode` reads them: truncated where they are too long."""
        return tuple(self._fit(dataset)[0])

    def _fit(self, dataset: Dataset) -> tuple[list[str], list[list[int]], list[int]]:
        """The prompts within `max_length`, their ids without BOS, and the characters that each lost."""
        if not len(dataset):
            raise EncodingError(f"{dataset.name}: expected one row at least, received none")
        self._refuse_shown(dataset)
        originals = [self.task.values(self.template, row) for row in dataset.rows()]
        values = [self._clip(row) for row in originals]
        prompts = [self._render(row) for row in values]
        ids = self.tokenizer.encode_batch(prompts)
        # The reserve is the same for every label, so that a row's prompt never depends on its label.
        reserve = self._reserve(prompts[0])
        room = self.max_length - reserve + len(self.tokenizer.encode(self._shown))
        for index, prompt_ids in enumerate(ids):
            if len(prompt_ids) > room:
                values[index] = self._shorten(values[index], room, dataset.ids[index])
                prompts[index] = self._render(values[index])
                ids[index] = self.tokenizer.encode(prompts[index])
        longest = max(map(len, ids)) + reserve
        if self.context_length is not None and longest > self.context_length:
            raise EncodingError(
                f"the longest row has {longest} tokens with what is shown in front of it; expected at most "
                f"{self.context_length}, which is what the model reads; show fewer rows or lower max_length"
            )
        lost = [_characters(whole) - _characters(kept) for whole, kept in zip(originals, values, strict=True)]
        return prompts, ids, lost

    @cached_property
    def _shown(self) -> str:
        """The shots' text, which is a constant in front of every prompt."""
        return "" if self.shots is None else self.shots.render(self.task, self.template, self.verbalizer)

    def _render(self, values: Mapping[str, str]) -> str:
        return self._shown + self.template.render_prompt(values)

    def _refuse_shown(self, dataset: Dataset) -> None:
        """Refuse a labelled row whose own answer stands in its prompt: it would teach or measure nothing."""
        if self.shots is None or dataset.labels is None:
            return
        for example_id, fields in zip(dataset.ids, dataset.rows(), strict=True):
            if self.shots.shows(fields):
                raise EncodingError(
                    f"{dataset.name}: row {example_id!r} is one of the rows that are shown, with its answer; "
                    "choose the shots for this table, or leave the row out"
                )

    def _reserve(self, prompt: str) -> int:
        """Tokens that BOS, the longest answer and the end token need."""
        answers = self.tokenizer.encode_batch([prompt + completion for completion in self.completions])
        alone = len(self.tokenizer.encode(prompt))
        longest = max(len(answer) for answer in answers) - alone
        return longest + 1 + (self.tokenizer.bos_id is not None)

    def _clip(self, values: Mapping[str, str]) -> dict[str, str]:
        limit = self.max_length * LONGEST_PIECE
        return {slot: text[:limit] for slot, text in values.items()}

    def _shorten(self, values: dict[str, str], room: int, example_id: str) -> dict[str, str]:
        """Cut graphemes off the longest field until the prompt fits into `room` tokens."""
        empty = self._length(dict.fromkeys(values, ""))
        if empty >= room:
            raise EncodingError(
                f"max_length {self.max_length} has no room for template {self.template.name!r} and some "
                f"text; expected at least {empty + self.max_length - room + 1}"
            )
        values = dict(values)
        for slot in sorted(values, key=lambda slot: len(values[slot]), reverse=True):
            values[slot] = longest_start(values[slot], partial(self._fits, values, slot, room))
            if self._length(values) <= room and any(values.values()):
                return values
        raise EncodingError(
            f"row {example_id!r} cannot be shortened to max_length {self.max_length}: not even its first "
            "character fits; raise max_length, or drop the row"
        )

    def _fits(self, values: Mapping[str, str], slot: str, room: int, text: str) -> bool:
        return self._length({**values, slot: text}) <= room

    def _length(self, values: Mapping[str, str]) -> int:
        return len(self.tokenizer.encode(self._render(values)))

    def _label_ids(
        self, prompts: Sequence[str], ids: Sequence[Sequence[int]], example_ids: Sequence[str]
    ) -> tuple[tuple[int, ...], ...]:
        """The ids of each label as every prompt continues, checked on every row."""
        found: list[tuple[int, ...]] = []
        for completion in self.completions:
            wholes = self.tokenizer.encode_batch([prompt + completion for prompt in prompts])
            answers = set()
            for whole, prompt_ids, example_id in zip(wholes, ids, example_ids, strict=True):
                if list(whole[: len(prompt_ids)]) != list(prompt_ids):
                    raise EncodingError(
                        f"row {example_id!r}: the answer {completion!r} merges with the end of the prompt, "
                        f"so the prompt's ids are no prefix of the text's; end the prompt of template "
                        f"{self.template.name!r} elsewhere, or move a space between prompt and completion"
                    )
                answers.add(tuple(whole[len(prompt_ids) :]))
            if len(answers) != 1:
                raise EncodingError(
                    f"the answer {completion!r} has other ids in some rows than in others; give template "
                    f"{self.template.name!r} an answer cue after its last field"
                )
            found.append(answers.pop())
        _check_distinct(found, self.completions)
        return tuple(found)


def _check_distinct(label_ids: Sequence[tuple[int, ...]], completions: Sequence[str]) -> None:
    for first, short in enumerate(label_ids):
        for second, other in enumerate(label_ids):
            if first != second and other[: len(short)] == short:
                raise EncodingError(
                    f"the answer {completions[second]!r} begins with the tokens of {completions[first]!r}, "
                    f"so no score can tell them apart; choose other label words"
                )


def _characters(values: Mapping[str, str]) -> int:
    return sum(map(len, values.values()))
