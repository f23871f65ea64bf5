"""What training is about to do, said before it begins: rows, steps, lengths, memory."""

from dataclasses import dataclass
from typing import Any

from kerastune.batch_shapes import bucket_lengths
from kerastune.config import LossOn, RunConfig
from kerastune.launching import find_launch
from kerastune.planning.asking import plan_with
from kerastune.planning.estimate import Estimate
from kerastune.schedule import total_steps
from kerastune.session import ModelSession, Prepared
from kerastune.sharing import share_size
from kerastune.stack import StackInfo


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What training is about to do.

    Args:
        config: The options.
        info: What runs, with the adapter on.
        loss_on: What the loss is on; see `kerastune.objective`.
        rows: Training rows.
        steps: Optimizer steps of all epochs.
        lengths: The padded lengths in tokens, in each of which a program is compiled.
        truncated: Rows that lost characters to `max_length`; dialogues lose their oldest turns.
        max_length: The most tokens of an example.
        template: The template's name.
        words: The words that say the labels; empty where there are none.
        left: Rows that were left out, as messages.
        notes: What else there is to say, a line each.
        resumed: Whether a checkpoint is there to go on from.
        memory: What it needs of the memory that there is; None for a family whose shape is not known, and
            where nothing is trained.
    """

    config: RunConfig
    info: StackInfo
    loss_on: LossOn
    rows: int
    steps: int
    lengths: tuple[int, ...]
    truncated: int
    max_length: int
    template: str
    words: tuple[str, ...]
    left: tuple[str, ...]
    notes: tuple[str, ...]
    resumed: bool
    memory: Estimate | None


def plan_memory(session: ModelSession[Any], prepared: Prepared) -> Estimate | None:
    """Plan the memory of a process before the model takes any.

    Returns:
        The plan; None where nothing is trained, the shape is not known, or the base lies in pieces.
    """
    config, launch = session.config, find_launch()
    if launch is not None and launch.stack == "keras":  # the mesh says it
        launch = None
    if not config.train.epochs or (launch is not None and config.model.shard is not None):
        return None
    objective = prepared.objective
    examples = objective.examples(prepared.examples)
    rows = config.train.batch_size if launch is None else share_size(config.train.batch_size, launch.size)
    if objective.preference is not None:  # two rows a pair
        rows *= 2
    return plan_with(
        config.with_options({"batch_size": rows}),
        session.files,
        objective,
        length=bucket_lengths([len(example) for example in examples])[-1],
        answers=max(len(example.trained) for example in examples),
    )


def make_plan(session: ModelSession[Any], prepared: Prepared, resumed: bool, memory: Estimate | None) -> Plan:
    """Say what is about to be trained; the session's model is loaded, with the adapter on."""
    config, rows = session.config, len(prepared.examples)
    trained = prepared.objective.examples(prepared.examples)
    return Plan(
        config=config,
        info=session.stack.info,
        loss_on=prepared.objective.loss_on,
        rows=rows,
        steps=total_steps(rows, config.train),
        lengths=bucket_lengths([len(example) for example in trained]),
        truncated=prepared.truncated,
        max_length=session.encoder.max_length,
        template=prepared.template,
        words=prepared.words,
        left=prepared.left,
        notes=prepared.notes,
        resumed=resumed,
        memory=memory,
    )
