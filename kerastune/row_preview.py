"""Preview: one row as the model will see it, down to the bytes and the tokens."""

import unicodedata
from collections.abc import Container, Sequence
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from kerastune.chat.encoders import DialogueEncoder
from kerastune.chat.reading import Dialogues, read_dialogues
from kerastune.config import RunConfig
from kerastune.dataset import Dataset, read_dataset
from kerastune.encoding import Encoded, Encoder
from kerastune.kinds import Rows
from kerastune.preference.encoding import encode_pair, fit_pair
from kerastune.preference.reading import PairRows, read_pairs
from kerastune.preference.session import open_preference_session
from kerastune.preference.task import PreferenceTask
from kerastune.session import open_session
from kerastune.strict import require_option
from kerastune.text_session import open_text_session
from kerastune.text_task import TextTask, find_task
from kerastune.tokenizer import Tokenizer

# What is trained is marked by signs as well as by colour: a log file has no colours.
_OPEN, _CLOSE = "⟦", "⟧"
_PROMPT, _TRAINED = "dim", "bold green"

# A joiner makes several signs into one, a family of three; spelling it out would take them apart.
_JOINER = "\u200d"


def preview(dataset: Dataset, encoder: Encoder, row: int = 0) -> Group:
    """Show a labelled row as text and as tokens: what is read, and what is trained.

    Args:
        dataset: Rows of the encoder's task, labelled or not.
        encoder: The encoder of the run.
        row: The row's index, from 0.

    Returns:
        Something to hand to `rich.print`.

    Raises:
        ConfigError: There is no such row.
        EncodingError: The row cannot be encoded; see `Encoder`.
    """
    heading = _heading(dataset, row, encoder.template.name)
    one = dataset.take([row])
    encodings = encoder.encode(one)
    (example,), (prompt,) = encodings.examples, encoder.prompts(one)
    label = None if one.labels is None else int(one.labels[0])
    completion = "" if label is None else encoder.completions[label]
    return Group(
        heading,
        *_example(example, [(prompt, False), (completion, True)], encoder.tokenizer, encoder.max_length),
        Text(),
        _labels(encoder, encodings.label_ids, label),
    )


def preview_dialogue(rows: Dialogues, encoder: DialogueEncoder, row: int = 0) -> Group:
    """Show a dialogue as text and as tokens: what is read, and what is trained.

    Args:
        rows: Rows of a task whose answers are texts.
        encoder: The encoder of the run.
        row: The row's index, from 0.

    Returns:
        Something to hand to `rich.print`.

    Raises:
        ConfigError: There is no such row.
        EncodingError: The row cannot be encoded; see `ChatEncoder` and `ExchangeEncoder`.
    """
    heading = _heading(rows, row, encoder.name)
    name, dialogue = rows.ids[row], rows.dialogues[row]
    example, parts = encoder.encode(dialogue, name), encoder.marked(encoder.fit(dialogue, name))
    return Group(heading, *_example(example, parts, encoder.tokenizer, encoder.max_length))


def preview_pair(rows: PairRows, encoder: DialogueEncoder, row: int = 0) -> Group:
    """Show a pair as text and as tokens: the prompt that both sides have, and the answers, which are trained.

    Args:
        rows: Rows of pairs.
        encoder: The encoder of the run, which trains the last answer alone.
        row: The row's index, from 0.

    Returns:
        Something to hand to `rich.print`.

    Raises:
        ConfigError: There is no such row.
        EncodingError: The row cannot be encoded; see `encode_pair`.
    """
    heading = _heading(rows, row, encoder.name)
    name, pair = rows.ids[row], rows.values[row]
    kept, encoded = fit_pair(encoder, pair, name), encode_pair(encoder, pair, name)
    (prompt, _), *chosen = encoder.marked(kept.chosen)
    _, *rejected = encoder.marked(kept.rejected)
    score = "" if pair.chosen_score is None else f", scored {pair.chosen_score:g}"
    return Group(
        heading,
        Text("\nprompt", "bold"),
        _text([(prompt, False)]),
        Text(f"{_size([(prompt, False)])}, {len(encoded.prompt_ids)} tokens; {_fate(encoded.chosen)}"),
        _tokens(encoder.tokenizer, encoded.prompt_ids),
        Text(f"\nchosen{score}", "bold"),
        *_answer(encoded.chosen, chosen, encoder),
        Text("\nrejected", "bold"),
        *_answer(encoded.rejected, rejected, encoder),
    )


def _heading(rows: Rows, row: int, template: str) -> Text:
    """The line that names a row; a row that is not there is refused."""
    require_option("row", row, 0 <= row < len(rows), f"0 to {len(rows) - 1}")
    return Text(f"{rows.where(row)}, id {rows.ids[row]}, template {template}", "bold")


def _example(
    example: Encoded, parts: Sequence[tuple[str, bool]], tokenizer: Tokenizer, max_length: int
) -> list[Text]:
    """A row's text, its numbers and its tokens."""
    trained = len(example.trained)
    return [
        _text(parts),
        Text(
            f"{_size(parts)}, {len(example) - trained} prompt tokens, {trained} trained tokens, "
            f"{len(example)} of {max_length} in all; {_fate(example)}"
        ),
        Text(),
        _tokens(tokenizer, example.ids, frozenset(example.trained)),
    ]


def _answer(example: Encoded, parts: Sequence[tuple[str, bool]], encoder: DialogueEncoder) -> list[Text]:
    """A side of a pair without its prompt: text, numbers and tokens."""
    ids, most = example.completion_ids, encoder.max_length
    return [
        _text(parts),
        Text(f"{_size(parts)}, {len(ids)} trained tokens, {len(example)} of {most} with the prompt"),
        _tokens(encoder.tokenizer, ids, range(len(ids))),
    ]


def _size(parts: Sequence[tuple[str, bool]]) -> str:
    return f"{len(''.join(text for text, _ in parts).encode())} bytes of UTF-8"


def _fate(example: Encoded) -> str:
    lost = example.characters_lost
    return f"{lost} characters were cut off" if lost else "nothing was cut off"


def preview_file(config: RunConfig, file: Path, row: int = 0, *, labelled: bool = True) -> Group:
    """Show a row of a table, as the configuration's task, template and model have it; no model is loaded.

    Args:
        config: The options.
        file: The table.
        row: The row's index, from 0.
        labelled: Whether a task's labels are read.

    Returns:
        Something to hand to `rich.print`.

    Raises:
        ConfigError: There is no such row.
        DataError: The table cannot be read as it is.
        EncodingError: The row cannot be encoded.
        ModelError: The base model's files are not found.
    """
    task = find_task(config.task)
    if isinstance(task, PreferenceTask):
        return preview_pair(read_pairs(file, task), open_preference_session(config).encoder, row)
    if isinstance(task, TextTask):
        return preview_dialogue(read_dialogues(file, config.task), open_text_session(config).encoder, row)
    return preview(read_dataset(file, config.task, labelled=labelled), open_session(config).encoder, row)


def visible(text: str) -> str:
    r"""Spell out what cannot be seen; a line end keeps breaking the line.

    Example:
        >>> visible("맛 최고\ufeff\t!")
        '맛·최고<U+FEFF>→!'
    """
    return "".join(map(_sign, text))


def _sign(character: str) -> str:
    known = {" ": "·", "\t": "→", "\n": "↵\n", _JOINER: _JOINER}
    if character in known:
        return known[character]
    # Z: separators of any kind; C: control and format characters, and code points that are nothing.
    unseen = unicodedata.category(character)[0] in "ZC"
    return f"<U+{ord(character):04X}>" if unseen else character


def _text(parts: Sequence[tuple[str, bool]]) -> Text:

    text = Text()
    for part, trained in parts:
        if not trained:
            text.append(visible(part))
        elif part:
            text.append(f"{_OPEN}{visible(part)}{_CLOSE}", _TRAINED)
    return text


def _tokens(tokenizer: Tokenizer, ids: Sequence[int], trained: Container[int] = ()) -> Text:
    """Tokens with their ids; those at the trained places are marked."""
    return Text("  ").join(
        Text(f"{_OPEN}{_piece(tokenizer, number)}{_CLOSE}", _TRAINED)
        if place in trained
        else Text(_piece(tokenizer, number), _PROMPT)
        for place, number in enumerate(ids)
    )


def _piece(tokenizer: Tokenizer, number: int) -> str:
    return f"{visible(tokenizer.token_text(number))}/{number}"


def _labels(encoder: Encoder, label_ids: tuple[tuple[int, ...], ...], label: int | None) -> Table:

    table = Table("label", "answer", "tokens", "", box=None, pad_edge=False)
    for index, ids in enumerate(label_ids):
        table.add_row(
            Text(str(encoder.task.labels[index])),
            Text(visible(encoder.completions[index])),
            Text("  ".join(_piece(encoder.tokenizer, number) for number in ids)),
            "this row" if index == label else "",
            style=_TRAINED if index == label else "",
        )
    return table
