"""Options as small frozen dataclasses. An option has one name, the same in Python, in TOML and as a flag."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal

from kerastune.errors import ConfigError
from kerastune.mesh import Mesh, parse_mesh
from kerastune.preference.spec import PreferenceSpec
from kerastune.strict import build, near, require_option
from kerastune.targets import canonical_targets

Backend = Literal["jax", "tensorflow", "torch"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Layout = Literal["native", "peft"]
LossOn = Literal["label", "completion", "all", "assistant"]
Mode = Literal["likelihood", "generate"]
Quantized = Literal["nf4", "int8", "int4"]
Quantize = Literal["nf4", "int8", "int4", "none"]
Shard = Literal["fsdp"]
StackName = Literal["keras", "hf"]

#: What each stack can keep a base's linear layers in.
QUANTIZED_BY: Mapping[str, tuple[Quantized, ...]] = {"keras": ("int8", "int4"), "hf": ("nf4", "int8")}

#: Adam's epsilon on every stack, applied as Keras does: added to the root of the uncorrected second moment
#: (the paper's epsilon hat). It keeps gradients that are mere rounding from making full steps.
ADAM_EPSILON = 1e-7


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Which base model, and what runs it.

    Args:
        model: `gemma3-270m`, a local folder, a `.gguf` file, `owner/name`, or a KerasHub preset.
        stack: `"keras"`, or `"hf"` for Hugging Face (transformers and PEFT).
        backend: `"jax"`, `"tensorflow"` or `"torch"`; None is JAX on the keras stack, and torch, the only
            one, on the hf stack.
        dtype: The base's dtype, `"float32"`, `"bfloat16"` or `"float16"`; `"auto"` takes bfloat16 where the
            hardware computes it fast, else float32.
        quantize: The number format of the base's linear layers, under a float32 adapter: `"nf4"` or `"int8"`
            by bitsandbytes on the hf stack (QLoRA, Dettmers et al. 2023, arXiv:2305.14314), `"int8"` or
            `"int4"` by Keras' own quantize on the keras stack, `"none"` for the dtype. None takes that of the
            run that training goes on from, and is `"none"` where there is no such run.
        shard: `"fsdp"` shards the base's decoder layers over the processes of torchrun, on the hf stack (Zhao
            et al. 2023, arXiv:2304.11277), for a base that fits on no single device. None gives each process
            the whole base. It has no effect on a single process.
        devices: The number of devices that the keras stack uses on JAX, each with a copy of the model and its
            share of the rows: `devices=4` is `mesh="data=4"`. None is one device.
        mesh: The arrangement of devices, for the keras stack on JAX: `"data=2,model=4"` splits each of two
            copies of the model over four devices; see `kerastune.mesh`.
    """

    model: str = "gemma3-270m"
    stack: StackName = "keras"
    backend: Backend | None = None
    dtype: Dtype = "auto"
    quantize: Quantize | None = None
    shard: Shard | None = None
    devices: int | None = None
    mesh: str | None = None

    def __post_init__(self) -> None:
        if self.stack == "hf":
            require_option(
                "backend", self.backend, self.backend in (None, "torch"), "'torch' on the hf stack"
            )
        known = QUANTIZED_BY[self.stack]
        require_option(
            "quantize",
            self.quantize,
            self.quantized is None or self.quantized in known,
            f"{' or '.join(map(repr, known))} on the {self.stack} stack",
        )
        alone = self.stack == "hf" and self.quantized is None
        require_option(
            "shard", self.shard, self.shard is None or alone, "none but on the hf stack without quantize"
        )
        for name in ("devices", "mesh"):
            value = getattr(self, name)
            if value is not None and (self.stack == "hf" or self.backend not in (None, "jax")):
                where = "the hf stack, which takes torchrun" if self.stack == "hf" else str(self.backend)
                raise ConfigError(
                    f"{name}: expected none on {where}, received {value!r}; leave it out, or use the keras "
                    "stack on jax"
                )
        count = self.devices
        require_option("devices", count, count is None or 0 < count < 10**6, "a positive whole number")
        require_option(
            "devices", count, None in (count, self.mesh), "none beside --mesh, which says how many"
        )
        if self.grid is not None and self.grid.model > 1:
            require_option(
                "quantize", self.quantize, self.quantize is None, "none with a mesh that splits the model"
            )

    @property
    def grid(self) -> Mesh | None:
        """The mesh that `devices` or `mesh` asks for; None where neither does."""
        if self.mesh is not None:
            return parse_mesh(self.mesh)
        return None if self.devices is None else Mesh(data=self.devices)

    @property
    def quantized(self) -> Quantized | None:
        """The number format of the base's linear layers; None where they are in the dtype."""
        return None if self.quantize is None or self.quantize == "none" else self.quantize


@dataclass(frozen=True, kw_only=True)
class LoraSpec:
    """Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685): y = W x + (alpha / rank) B A x.

    Args:
        rank: Rank of the update.
        alpha: Numerator of its scale; None means `rank`, a scale of 1.
        targets: Layers to adapt, by either stack's names: `query` and `q_proj` are the same layer.
        dropout: Probability with which inputs of the update are dropped in training.
        layout: `"peft"` is PEFT's factorisation on both stacks, so that one seed gives one run;
            `"native"` is each stack's own: on keras that of `enable_lora`, whose query heads share one B
            and have an A each; on hf PEFT's.
        rslora: Scale by alpha / sqrt(rank) instead (Kalajdzievski 2023, arXiv:2312.03732).
        dora: Train the magnitude of the adapted weight's rows too (Liu et al. 2024, arXiv:2402.09353);
            on the hf stack only.
    """

    rank: int = 16
    alpha: float | None = None
    targets: tuple[str, ...] = ("all",)
    dropout: float = 0.0
    layout: Layout = "peft"
    rslora: bool = False
    dora: bool = False

    def __post_init__(self) -> None:
        require_option("rank", self.rank, self.rank >= 1, "1 or more")
        require_option(
            "alpha", self.alpha, self.alpha is None or 0 < self.alpha < inf, "a finite number more than 0"
        )
        require_option("dropout", self.dropout, 0 <= self.dropout < 1, "from 0 up to, not including, 1")
        require_option("targets", self.targets, len(self.targets) > 0, "one layer name or more")
        canonical_targets(self.targets)

    @property
    def scale(self) -> float:
        """The factor of the low-rank product: alpha / rank, or alpha / sqrt(rank) with `rslora`."""
        alpha = self.rank if self.alpha is None else self.alpha
        return alpha / (self.rank**0.5 if self.rslora else self.rank)


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """How to train.

    Args:
        epochs: Passes over the training rows; 0 trains nothing, and the base model answers.
        batch_size: Rows in a forward pass.
        accumulate: Forward passes in an optimizer step.
        learning_rate: The peak learning rate, after the warm-up.
        weight_decay: AdamW's decay (Loshchilov & Hutter, arXiv:1711.05101); not on biases and scales.
        warmup: Fraction of the steps in which the learning rate rises from 0; a cosine to 0 follows.
        clip_norm: The largest global norm of the gradients, which larger ones are scaled down to; 0 does not
            clip.
        loss_on: `"label"` trains the choice among the labels, by their first tokens; `"completion"` the
            answer and the end token; `"all"` the whole text; `"assistant"`, for tasks whose answers are
            texts, every answer with the token that ends it. None takes the task's.
        shots: Rows of each label that stand as examples before every text, and are not trained on.
        max_length: The most tokens of a row, not counting its examples. None takes the task's: 256 where it
            has labels, else 1024.
        patience: Epochs without a better validation loss after which training stops; 0 never stops early.
        seed: The seed of the initial adapter, the order of the rows and the dropout.
        checkpoint_steps: Optimizer steps between checkpoints; 0 goes by the minutes alone.
        checkpoint_minutes: Minutes between checkpoints; 0 goes by the steps alone. There is one at the end of
            every epoch, too.
    """

    epochs: int = 2
    batch_size: int = 8
    accumulate: int = 1
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    warmup: float = 0.1
    clip_norm: float = 1.0
    loss_on: LossOn | None = None
    shots: int = 0
    max_length: int | None = None
    patience: int = 0
    seed: int = 0
    checkpoint_steps: int = 0
    checkpoint_minutes: float = 2.0

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulate", "max_length"):
            value = getattr(self, name)
            require_option(name, value, value is None or value >= 1, "1 or more")
        require_option(
            "learning_rate", self.learning_rate, 0 < self.learning_rate < inf, "a finite number more than 0"
        )
        least_0 = ("epochs", "shots", "weight_decay", "clip_norm", "patience", "seed")
        for name in (*least_0, "checkpoint_steps", "checkpoint_minutes"):
            require_option(
                name, getattr(self, name), 0 <= getattr(self, name) < inf, "a finite number, 0 or more"
            )
        require_option("warmup", self.warmup, 0 <= self.warmup < 1, "from 0 up to, not including, 1")


@dataclass(frozen=True, kw_only=True)
class ScoreSpec:
    """How to score.

    Args:
        mode: `"likelihood"` compares the labels' log-probabilities; `"generate"` reads the label out of
            generated text, and reports how often that is no label.
        score_batch_size: Rows in a forward pass.
    """

    mode: Mode = "likelihood"
    score_batch_size: int = 32

    def __post_init__(self) -> None:
        require_option("score_batch_size", self.score_batch_size, self.score_batch_size >= 1, "1 or more")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All options of a run; what `config.toml` in its folder holds.

    Args:
        task: The task's name.
        template: The template's name, or a prompt with a slot such as `{comment}`; None takes the task's.
        verbalizer: The verbalizer's name, or words with `/` between them; None takes the task's.
        train_file: The table to train on.
        validation_file: The table whose loss is measured after each epoch, if any.
        from_run: The folder of a run whose adapter the new one goes on top of, if any.
        model: The base model.
        lora: The adapter.
        train: The training.
        preference: The training on pairs of answers.
        score: The scoring.
    """

    task: str = "review-sentiment"
    template: str | None = None
    verbalizer: str | None = None
    train_file: str | None = None
    validation_file: str | None = None
    from_run: str | None = None
    model: ModelSpec = field(default_factory=ModelSpec)
    lora: LoraSpec = field(default_factory=LoraSpec)
    train: TrainSpec = field(default_factory=TrainSpec)
    preference: PreferenceSpec = field(default_factory=PreferenceSpec)
    score: ScoreSpec = field(default_factory=ScoreSpec)

    def with_options(self, options: Mapping[str, Any]) -> "RunConfig":
        """Replace options by name, whichever section they are of; None leaves one as it is.

        Raises:
            ConfigError: There is no option of that name, or its value is refused.

        Example:
            >>> RunConfig().with_options({"rank": 4, "epochs": None}).lora.rank
            4
        """
        given = {name: value for name, value in options.items() if value is not None}
        table = dataclasses.asdict(self)
        for name, value in given.items():
            _section(table, name)[name] = value
        return build(RunConfig, table, "options")


def _section(table: dict[str, Any], name: str) -> dict[str, Any]:
    sections = [table, *(value for value in table.values() if isinstance(value, dict))]
    for section in sections:
        if name in section and not isinstance(section[name], dict):
            return section
    known = [key for section in sections for key in section if not isinstance(section[key], dict)]
    raise ConfigError(f"unknown option {name!r}{near(name, known)}")
