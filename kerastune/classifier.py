"""The estimator: fine-tuning and scoring behind the interface of scikit-learn."""

import json
import shutil
import uuid
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from kerastune.calibration import Fit, fit_calibration, rescale
from kerastune.checkpoint import require_checkpoint
from kerastune.classification import Classification
from kerastune.config import LoraSpec, ModelSpec, RunConfig, ScoreSpec, TrainSpec
from kerastune.dataset import require_classes
from kerastune.encoding import Encoded, Encoder, Encodings
from kerastune.few_shot import Shots, choose_shots
from kerastune.fine_tuning import training_identity
from kerastune.lora import Factors
from kerastune.objective import Objective
from kerastune.session import Session
from kerastune.shared_models import shared_model
from kerastune.strict import build
from kerastune.task import Task
from kerastune.template import Template
from kerastune.training import fit
from kerastune.training_state import CHECKPOINT, HISTORY


class LLMClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A language model that classifies texts, trained by LoRA or as it is.

    The base model is loaded once for all estimators of a process that ask for the same, so that
    cross-validation costs a training a fold and no more; `kerastune.release_models` lets go of it. An
    estimator itself holds its adapter alone, and is as small to copy and to pickle as that.

    Args:
        model: The base model; see `ModelSpec`.
        stack: `"keras"` or `"hf"`.
        backend: What computes; None is the stack's own.
        dtype: The base's dtype.
        task: A task or its name, such as `"review-sentiment"`; its labels are the classes. None makes one
            of the classes in `y`.
        template: A template or its name; None takes the task's.
        verbalizer: With a task, the name of one of its verbalizers. Without, class -> word, or a word for
            each class in sorted order; None says classes by their names.
        lora: The adapter's options, a `LoraSpec` or a mapping of some of them; None for the defaults.
        train: The training's options, a `TrainSpec` or a mapping of some of them; None for the defaults.
            With `epochs` 0 nothing is trained and the model answers as it is, with `shots` from what it is
            shown.
        score_batch_size: Rows of a forward pass when scoring.
        show: Whether to show progress.

    Attributes:
        classes_: `[L]`, the classes, sorted.
        config_: The options that it was fitted with.
        classification_: The task, its template, and how classes are called.
        adapter_: Hugging Face's module path -> the update that was learnt; empty where nothing was trained.
        history_: The training's lines, a step or an epoch each, as `history.jsonl` has them.
        shots_: The rows shown, or None.
        calibration_: What `calibrate` fitted, or None.

    Example:
        >>> classifier = LLMClassifier(stack="hf", train={"epochs": 2, "seed": 1})
        >>> classifier.get_params()["train"]
        {'epochs': 2, 'seed': 1}
    """

    def __init__(
        self,
        model: str = "gemma3-270m",
        *,
        stack: str = "keras",
        backend: str | None = None,
        dtype: str = "auto",
        task: str | Task | None = None,
        template: str | Template | None = None,
        verbalizer: str | Mapping[Any, str] | Sequence[str] | None = None,
        lora: LoraSpec | Mapping[str, Any] | None = None,
        train: TrainSpec | Mapping[str, Any] | None = None,
        score_batch_size: int = 32,
        show: bool = False,
    ) -> None:
        # Nothing is looked at before fit, so that any value can be set, cloned and searched over.
        self.model = model
        self.stack = stack
        self.backend = backend
        self.dtype = dtype
        self.task = task
        self.template = template
        self.verbalizer = verbalizer
        self.lora = lora
        self.train = train
        self.score_batch_size = score_batch_size
        self.show = show

    def fit(
        self,
        X: Any,  # noqa: N803
        y: Any,
        X_val: Any = None,  # noqa: N803
        y_val: Any = None,
        *,
        folder: str | Path | None = None,
        resume: bool = False,
    ) -> "LLMClassifier":
        """Train, or where `epochs` is 0 get ready to answer without.

        Args:
            X: Texts, one a row: a list, an array or a Series; a frame where the task has several fields.
            y: Their classes.
            X_val: Texts to watch while training; the adapter of the best epoch is kept.
            y_val: Their classes.
            folder: Where checkpoints are while it trains, so that a fit that was killed and is called again
                goes on; None has none that outlive the call.
            resume: Whether there must be one to go on from.

        Returns:
            The estimator.

        Raises:
            DataError: A text is missing or empty, a class is unknown to the task, or there is one class only.
            ConfigError: An option is refused, or there is nothing to resume.
            TemplateError: Two classes are said by one word, or a class by none.
            ModelError: The model is not found, or cannot be trained.
        """
        # Assigned last, so that a fit that failed is none, and what was fitted keeps its options.
        self.__dict__.pop("config_", None)
        if resume:
            require_checkpoint(Path(folder or ".") / CHECKPOINT)
        config = self._config()
        self.classification_ = Classification.of(y, self.task, self.template, self.verbalizer)
        self.classes_ = self.classification_.classes
        rows = self.classification_.rows(X, y)
        require_classes(rows)
        watched = None if X_val is None else self.classification_.rows(X_val, y_val)
        self.shots_: Shots | None = None
        if config.train.shots:
            scored = [] if watched is None else [watched]
            self.shots_ = choose_shots(rows, config.train.shots, config.train.seed, scored=scored)
            rows = self.shots_.others(rows)
        self.calibration_: Fit | None = None
        self.adapter_: dict[str, Factors] = {}
        self.history_: list[dict[str, Any]] = []
        self._adapter_id: str | None = None
        encoder = self._encoder(config)
        encodings = encoder.encode(rows)
        firsts = [ids[0] for ids in encodings.label_ids]
        if len(set(firsts)) < len(firsts):
            warnings.warn(
                f"some of the words {', '.join(encoder.task.words(encoder.verbalizer))} begin with the same "
                "token, so that whole words are compared, which takes a pass each; choose others with "
                "verbalizer",
                stacklevel=2,
            )
        if config.train.epochs:
            seen = encoder.encode(watched).examples if watched is not None else ()
            with TemporaryDirectory() if folder is None else nullcontext(folder) as place:
                self._train(config, encodings, seen, Path(place))
        self.config_ = config
        return self

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Predict each text's class, `[N]`; by the calibrated decision where `calibrate` was called."""
        scores = self.predict_log_proba(X)
        if self.calibration_ is not None:
            scores = scores + self.calibration_.decision_offsets[self.classification_.order]
        return cast("NDArray[Any]", self.classes_[scores.argmax(axis=1)])

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Return each text's probability of each class, `[N, L]`, in the order of `classes_`."""
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Return the natural logarithms of `predict_proba`, which lose nothing near 0."""
        found = self._log_probabilities(X)
        if self.calibration_ is not None:
            found = rescale(found, self.calibration_.scale, self.calibration_.bias)
        return found[:, self.classification_.order]

    def decision_function(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Return log-odds of the second of two classes, `[N]`; of more, log-probabilities, `[N, L]`."""
        scores = self.predict_log_proba(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def calibrate(self, X: Any, y: Any, methods: Sequence[str] | None = None) -> "LLMClassifier":  # noqa: N803
        """Fit temperature, bias and decision to rows that were not trained on; see `kerastune.calibration`.

        Args:
            X: Texts.
            y: Their classes.
            methods: Such as `["temperature"]`; None chooses by the number of rows.

        Returns:
            The estimator, whose probabilities and predictions are calibrated from now on.
        """
        check_is_fitted(self)
        rows = self.classification_.rows(X, y)
        self.calibration_ = fit_calibration(
            self._log_probabilities(X), rows.labels, methods, metric=rows.task.metric
        )
        return self

    def save(self, folder: str | Path) -> Path:
        """Write the fitted estimator into a folder: JSON, and the adapter in PEFT's format.

        Args:
            folder: Where to; what is there is replaced.

        Raises:
            OutputError: The folder cannot be written.
        """
        from kerastune.classifier_files import save_classifier

        check_is_fitted(self)
        return save_classifier(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> "LLMClassifier":
        """Read an estimator that `save` wrote; the base model is loaded when it predicts.

        Raises:
            AdapterError: A file is missing or damaged, or the base model is another.
        """
        from kerastune.classifier_files import load_classifier

        return load_classifier(cls, Path(folder))

    def __sklearn_is_fitted__(self) -> bool:
        """Whether a fit has ended well."""
        return hasattr(self, "config_")

    def __sklearn_tags__(self) -> Any:
        """Say that texts go in, as scikit-learn's own vectorizers do."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        return tags

    def _config(self) -> RunConfig:
        lora, train = self.lora or {}, self.train or {}
        model = {"model": self.model, "stack": self.stack, "backend": self.backend, "dtype": self.dtype}
        return RunConfig(
            model=build(ModelSpec, model, "model"),
            lora=lora if isinstance(lora, LoraSpec) else build(LoraSpec, lora, "lora"),
            train=train if isinstance(train, TrainSpec) else build(TrainSpec, train, "train"),
            score=ScoreSpec(score_batch_size=self.score_batch_size),
        )

    def _encoder(self, config: RunConfig) -> Encoder:
        return Encoder(
            task=self.classification_.task,
            template=self.classification_.template,
            tokenizer=shared_model(config.model).tokenizer,
            verbalizer=self.classification_.verbalizer,
            max_length=config.train.max_length or self.classification_.task.max_length,
            shots=self.shots_,
        )

    def _train(
        self, config: RunConfig, encodings: Encodings, watched: Sequence[Encoded], folder: Path
    ) -> None:
        spec, shared = config.train, shared_model(config.model)
        with shared.lock:
            shared.adapter_id = ""
            shared.stack.add_lora(config.lora, spec.seed)
            fit(
                shared.stack,
                encodings.examples,
                spec,
                objective=Objective.of(spec.loss_on, self.classification_.task.loss_on, encodings.label_ids),
                pad_id=shared.tokenizer.pad_id,
                folder=folder,
                validation=watched,
                identity=training_identity(shared.stack, config.lora),
                show=self.show,
            )
            lines = (folder / HISTORY).read_text(encoding="utf-8").splitlines()
            self.history_ = [json.loads(line) for line in lines]
            shutil.rmtree(folder / CHECKPOINT)
            self.adapter_, self._adapter_id = shared.stack.get_adapter(), uuid.uuid4().hex
            shared.adapter_id = self._adapter_id

    def _log_probabilities(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """The model's own, in the order of the task's labels."""
        check_is_fitted(self)
        config, rows = self.config_, self.classification_.rows(X)
        shared = shared_model(config.model)
        with shared.lock:
            shared.put_on(self._adapter_id, self.adapter_)
            session = Session(config, shared.files, self._encoder(config), shared.stack)
            return session.score(rows, show=self.show).log_probabilities
