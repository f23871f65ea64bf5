"""A run's options -> its plan: from the command `plan`, and of the rows that `train` is about to train on."""

from kerastune.config import Quantize, RunConfig
from kerastune.devices import Device, get_device
from kerastune.errors import ConfigError, ModelError
from kerastune.mesh import Mesh
from kerastune.models import ModelFiles
from kerastune.models.stored import stored_dtype
from kerastune.objective import Objective
from kerastune.planning.estimate import Estimate, Work, estimate
from kerastune.planning.locating import find_shape
from kerastune.planning.memory import DTYPE_BYTES
from kerastune.planning.shapes import Shape
from kerastune.precision import choose_dtype
from kerastune.stack import find_device
from kerastune.task import Task
from kerastune.text_task import find_task


def plan_training(config: RunConfig, *, length: int | None = None, device: str | None = None) -> Estimate:
    """Plan the training that options ask for, of rows that are all of one length.

    Args:
        config: The options.
        length: Tokens of a row; `max_length` when None.
        device: See `get_device`; None takes what the stack would compute on here.

    Raises:
        ConfigError: An option is refused.
        ModelError: The model's shape cannot be found.
    """
    if length is not None and length < 2:
        raise ConfigError(f"length: expected 2 or more, received {length}")
    shape, stored = find_shape(config.model.model)
    task = find_task(config.task)
    length = length or config.train.max_length or task.max_length
    loss_on = config.train.loss_on or task.loss_on
    # An answer that is one token has the end token beside it, where that is trained; a dialogue may be
    # all answer.
    answers = {"label": 1, "completion": 2}.get(loss_on, length - 1)
    work = _work(
        config,
        shape,
        _device(config, device),
        length=length,
        answers=answers,
        choices=len(task.labels) if isinstance(task, Task) and loss_on == "label" else 0,
        quantization=config.model.quantized,
        stored_dtype=stored,
    )
    return estimate(*work)


def plan_with(
    config: RunConfig, files: ModelFiles, objective: Objective, *, length: int, answers: int
) -> Estimate | None:
    """Plan a training that is about to begin here.

    Args:
        config: The options.
        files: The base model.
        objective: What the loss is on.
        length: Tokens of the longest padded row.
        answers: The most trained tokens of a row.

    Returns:
        The plan; None for a family whose shape is not known, which the stack may know all the same.

    Raises:
        ConfigError: float16 is asked for and overflows in this model.
        MissingExtraError: The stack is not installed.
    """
    try:
        shape = Shape.of_config(files.config, files.name)
    except ModelError:
        return None
    stored = stored_dtype(files)
    work = _work(
        config,
        shape,
        find_device(config.model),
        length=length,
        answers=length - 1 if objective.loss_on == "all" else answers,
        choices=len(objective.choices),
        quantization=config.model.quantized,
        stored_dtype=stored if stored in DTYPE_BYTES else "float32",
    )
    return estimate(*work)


def _work(
    config: RunConfig,
    shape: Shape,
    device: Device,
    *,
    length: int,
    answers: int,
    choices: int,
    quantization: Quantize | None,
    stored_dtype: str,
) -> tuple[Work, Device]:
    stack = config.model.stack
    work = Work(
        shape=shape,
        lora=config.lora,
        stack=stack,
        backend=config.model.backend or ("torch" if stack == "hf" else "jax"),
        dtype=choose_dtype(
            config.model.dtype, fast_bfloat16=device.fast_bfloat16, model_type=shape.model_type
        ),
        batch_size=config.train.batch_size,
        length=length,
        accumulate=config.train.accumulate,
        answers=answers,
        choices=choices,
        quantization=quantization,
        stored_dtype=stored_dtype,
        mesh=config.model.grid or Mesh(),
    )
    return work, device


def _device(config: RunConfig, name: str | None) -> Device:
    """A device by name; this machine multiplies bfloat16 as the stack finds it to."""
    if name not in (None, "cpu"):
        return get_device(str(name))
    here = find_device(config.model)
    return here if name is None or here.kind == "cpu" else get_device("cpu")
