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

    The base model is loaded once for all estimators of a process that name the same one, so that
    cross-validation does not load it for each fold; `kerastune.release_models` frees it. An estimator itself
    holds only its adapter, and so is small to copy and to pickle.

    Args:
        model: The base model; see `ModelSpec`.
        stack: `"keras"` or `"hf"`.
        backend: `"jax"`, `"tensorflow"` or `"torch"`; None is JAX on keras and torch on hf.
        dtype: The base's dtype: `"float32"`, `"bfloat16"` or `"float16"`; `"auto"` chooses by the hardware.
        task: A task or its name, such as `"review-sentiment"`; its labels are the classes. None makes one
            of the classes in `y`.
        template: A template or its name; None takes the task's.
        verbalizer: With a task, the name of one of its verbalizers. Without a task, class -> word, or a word
            for each class in sorted order; None takes the classes' names.
        lora: The adapter's options, a `LoraSpec` or a mapping of some of them; None for the defaults.
        train: The training's options, a `TrainSpec` or a mapping of some of them; None for the defaults.
            With `epochs` 0 nothing is trained and the base model answers; with `shots` it is shown that many
            rows of each class first.
        score_batch_size: Rows of a forward pass when scoring.
        show: Whether to show progress.

    Attributes:
        classes_: `[L]`, the classes, sorted.
        config_: The options that it was fitted with.
        classification_: The task, its template, and how classes are called.
        adapter_: Hugging Face's module path -> its low-rank update; empty where nothing was trained.
        history_: An entry for each step and each epoch, as `history.jsonl` has them.
        shots_: The labelled rows that stand in every prompt, or None.
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
        # Nothing is checked before fit, so that any value can be set, cloned and searched over.
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
        """Train; where `epochs` is 0, only prepare the prompts.

        Args:
            X: `[N]` texts: a list, an array or a Series; a frame where the task has several fields.
            y: `[N]`, their classes.
            X_val: Texts whose loss is measured after each epoch; the adapter of the best epoch is kept.
            y_val: Their classes.
            folder: Where checkpoints are kept while it trains, so that a fit that was killed goes on when it
                is called again; None keeps none beyond the call.
            resume: Whether there has to be a checkpoint in `folder` to go on from.

        Returns:
            The estimator.

        Raises:
            DataError: A text is missing or empty, a class is unknown to the task, or there is one class only.
            ConfigError: An option is refused, or there is nothing to resume.
            TemplateError: Two classes have the same word, or a class has none.
            ModelError: The model is not found, or cannot be trained.
            OutputError: A checkpoint cannot be written.
        """
        # It marks the estimator as fitted: removed first and set last, so that a fit that failed is none.
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
                "token, so that whole words are compared, in a forward pass for each class; give words that "
                "begin differently as verbalizer",
                stacklevel=2,
            )
        if config.train.epochs:
            seen = encoder.encode(watched).examples if watched is not None else ()
            with TemporaryDirectory() if folder is None else nullcontext(folder) as place:
                self._train(config, encodings, seen, Path(place))
        self.config_ = config
        return self

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Predict each text's class, `[N]`; with the calibrated threshold after `calibrate`."""
        scores = self.predict_log_proba(X)
        if self.calibration_ is not None:
            scores = scores + self.calibration_.decision_offsets[self.classification_.order]
        return cast("NDArray[Any]", self.classes_[scores.argmax(axis=1)])

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Return each text's probability of each class, `[N, L]`, in the order of `classes_`."""
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Return the natural logarithms of `predict_proba`, `[N, L]`, which are exact near 0."""
        found = self._log_probabilities(X)
        if self.calibration_ is not None:
            found = rescale(found, self.calibration_.scale, self.calibration_.bias)
        return found[:, self.classification_.order]

    def decision_function(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Return the log-odds of the second of two classes, `[N]`; of more, log-probabilities, `[N, L]`."""
        scores = self.predict_log_proba(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def calibrate(self, X: Any, y: Any, methods: Sequence[str] | None = None) -> "LLMClassifier":  # noqa: N803
        """Fit temperature, bias and decision threshold to rows that were not trained on.

        See `kerastune.calibration`.

        Args:
            X: `[N]` texts.
            y: `[N]`, their classes.
            methods: Such as `["temperature"]`; None chooses by the number of rows.

        Returns:
            The estimator, whose probabilities and predictions are calibrated from now on.

        Raises:
            ConfigError: A method is unknown, or two exclude each other.
            DataError: A text is missing or empty, or a class is unknown.
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
            folder: The folder; one that is there is replaced.

        Returns:
            The folder.

        Raises:
            OutputError: The folder cannot be written.
        """
        from kerastune.classifier_files import save_classifier

        check_is_fitted(self)
        return save_classifier(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> "LLMClassifier":
        """Read an estimator that `save` wrote; the base model is loaded at its first prediction.

        Args:
            folder: The folder.

        Raises:
            AdapterError: A file is missing or damaged, or the base model is another.
        """
        from kerastune.classifier_files import load_classifier

        return load_classifier(cls, Path(folder))

    def __sklearn_is_fitted__(self) -> bool:
        """Whether a fit has ended well."""
        return hasattr(self, "config_")

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that the input is texts, as its own vectorizers do."""
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
        """Uncalibrated log-probabilities, `[N, L]`, in the order of the task's labels."""
        check_is_fitted(self)
        config, rows = self.config_, self.classification_.rows(X)
        shared = shared_model(config.model)
        with shared.lock:
            shared.put_on(self._adapter_id, self.adapter_)
            session = Session(config, shared.files, self._encoder(config), shared.stack)
            return session.score(rows, show=self.show).log_probabilities
