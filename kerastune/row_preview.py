"""Preview: one row as the model will see it, down to the bytes and the tokens."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from kerastune.dataset import Dataset
from kerastune.encoding import Encoder
from kerastune.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

# What is trained is marked by signs as well as by colour: a log file has no colours.
_OPEN, _CLOSE = "⟦", "⟧"
_PROMPT, _TRAINED = "dim", "bold green"

# A joiner makes several signs into one, a family of three; spelling it out would take them apart.
_JOINER = "\u200d"


def preview(dataset: Dataset, encoder: Encoder, row: int = 0) -> Group:
    """Show a row as text and as tokens: what is read, and what is trained.

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
    from rich.console import Group
    from rich.text import Text

    if not 0 <= row < len(dataset):
        raise ConfigError(f"row: expected 0 to {len(dataset) - 1}, received {row}")
    one = dataset.take([row])
    encodings = encoder.encode(one)
    (example,), (prompt,) = encodings.examples, encoder.prompts(one)
    label = None if one.labels is None else int(one.labels[0])
    completion = "" if label is None else encoder.completions[label]
    lost = example.characters_lost
    fate = f"{lost} characters were cut off" if lost else "nothing was cut off"
    return Group(
        Text(f"{dataset.where(row)}, id {example.example_id}, template {encoder.template.name}", "bold"),
        _text(prompt, completion),
        Text(
            f"{len((prompt + completion).encode())} bytes of UTF-8, {len(example.prompt_ids)} prompt tokens, "
            f"{len(example.completion_ids)} trained tokens, {len(example)} of {encoder.max_length} in all; "
            f"{fate}"
        ),
        Text(),
        _tokens(encoder, example.prompt_ids, example.completion_ids),
        Text(),
        _labels(encoder, encodings.label_ids, label),
    )


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


def _text(prompt: str, completion: str) -> Text:
    from rich.text import Text

    text = Text(visible(prompt))
    if completion:
        text.append(f"{_OPEN}{visible(completion)}{_CLOSE}", _TRAINED)
    return text


def _tokens(encoder: Encoder, prompt_ids: tuple[int, ...], completion_ids: tuple[int, ...]) -> Text:
    from rich.text import Text

    tokens = [Text(_piece(encoder, number), _PROMPT) for number in prompt_ids]
    tokens += [Text(f"{_OPEN}{_piece(encoder, number)}{_CLOSE}", _TRAINED) for number in completion_ids]
    return Text("  ").join(tokens)


def _piece(encoder: Encoder, number: int) -> str:
    return f"{visible(encoder.tokenizer.token_text(number))}/{number}"


def _labels(encoder: Encoder, label_ids: tuple[tuple[int, ...], ...], label: int | None) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("label", "answer", "tokens", "", box=None, pad_edge=False)
    for index, ids in enumerate(label_ids):
        table.add_row(
            Text(str(encoder.task.labels[index])),
            Text(visible(encoder.completions[index])),
            Text("  ".join(_piece(encoder, number) for number in ids)),
            "this row" if index == label else "",
            style=_TRAINED if index == label else "",
        )
    return table
