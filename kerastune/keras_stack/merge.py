"""A base with its adapter added, as a KerasHub preset that plain KerasHub opens."""

import os
from pathlib import Path
from typing import Any

import keras_hub
import numpy as np
from keras import ops
from numpy.typing import NDArray

from kerastune.batching import Batch
from kerastune.errors import ModelError, one_line
from kerastune.models import ModelFiles
from kerastune.models.stored import stored_dtype
from kerastune.tokenizer import load_tokenizer

# Spaces, an accent, Hangul, digits and an emoji: what tokenizers differ in.
_PROBE = "음식점 리뷰: 국물이  맛있어요 ㅠㅠ 10/10!\nA café, nice 👍."
_WINDOW = "use_sliding_window_attention"


def save_preset(causal_lm: Any, files: ModelFiles, folder: Path, dtype: str) -> tuple[str, ...]:
    """Save a causal language model as a preset, with its preprocessor where KerasHub can make one.

    Args:
        causal_lm: The model, without a preprocessor.
        files: The base, whose tokenizer it is.
        folder: An empty folder.
        dtype: Of the weights; `"auto"` is the base's own.

    Returns:
        A note where there is no preprocessor, and where KerasHub takes another epsilon.

    Raises:
        ModelError: A preset cannot say what this base is.
        OSError: The folder cannot be written.
    """
    backbone = _as_config_says(causal_lm.backbone, stored_dtype(files) if dtype == "auto" else dtype)
    notes = _left_unsaid(files, causal_lm.backbone, backbone)
    for ours, theirs in zip(causal_lm.backbone.weights, backbone.weights, strict=True):
        theirs.assign(ops.cast(ours, theirs.dtype))
    preprocessor = None
    try:
        preprocessor = _preprocessor(type(causal_lm), files)
    except Exception as error:  # KerasHub's errors have no base in common
        notes.append(f"the preset has no tokenizer: KerasHub makes none of {files.path}: {one_line(error)}")
    try:
        type(causal_lm)(backbone=backbone, preprocessor=preprocessor).save_to_preset(str(folder))
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno)) from error  # h5py's are of many lines
    return tuple(notes)


def _preprocessor(causal_lm: type, files: ModelFiles) -> Any:
    """What KerasHub makes of the base's tokenizer, where that gives the base's ids."""
    preprocessor = causal_lm.preprocessor_cls.from_preset(str(files.path))  # type: ignore[attr-defined]
    found = [int(number) for number in preprocessor.tokenizer.tokenize(_PROBE)]
    expected = list(load_tokenizer(files).encode(_PROBE))
    if found != expected:
        raise ValueError(f"its ids of a text begin {found[:5]}, the base's {expected[:5]}")
    return preprocessor


def _as_config_says(backbone: Any, dtype: str) -> Any:
    """The backbone that plain KerasHub makes of this one's config, trainable and with other weights.

    Loading sets windows and RoPE layer by layer; what a config can say of that, this one says.
    """
    config = {**backbone.get_config(), "dtype": dtype, "trainable": True}
    ropes: dict[str, Any] = {}  # by the beginning of the config's keys: Gemma 3 has two sorts of layers
    for block in backbone.transformer_layers:
        inner = block._flatten_layers(include_self=False)
        windowed = any(getattr(layer, _WINDOW, False) for layer in inner)
        if _WINDOW in config:
            config[_WINDOW] = config[_WINDOW] or windowed
        for layer in inner:
            if isinstance(layer, keras_hub.layers.RotaryEmbedding):
                ropes |= {"": layer, "local_" if windowed else "global_": layer}
    for key in config:
        sort, rope, name = key.partition("rope_")
        if rope and hasattr(ropes.get(sort), name):
            config[key] = getattr(ropes[sort], name)
    return type(backbone).from_config(config)


def _left_unsaid(files: ModelFiles, ours: Any, theirs: Any) -> list[str]:
    """Find what was set on the layers and is in no preset; rows shorter than a window would not show it."""
    unsaid: dict[str, str] = {}
    for mine, other in zip(ours._flatten_layers(), theirs._flatten_layers(), strict=True):
        # A layer of layers hands its arguments on when it is made; of those, loading changes this one alone.
        composed = mine is ours or mine in ours.transformer_layers
        names = () if composed else {_WINDOW} & set(vars(mine)) if mine._layers else set(vars(mine))
        for name in names:
            value, said = getattr(mine, name), getattr(other, name, None)
            plain = isinstance(value, bool | int | float | None) and not name.startswith("_")
            if plain and value != said:
                unsaid[name] = f"{mine.path}: {name} is {value}, {said} in a preset"
    for name, text in unsaid.items():
        if name != "epsilon":
            raise ModelError(
                f"{files.name}: KerasHub's presets cannot say this base: {text}; use --format hf"
            )
    return [f"KerasHub's presets cannot say this base exactly: {text}" for text in unsaid.values()]


class PlainPreset:
    """A preset as plain KerasHub opens it, in float32.

    Args:
        folder: The preset.

    Raises:
        ModelError: KerasHub cannot open it.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._model = keras_hub.models.CausalLM.from_preset(
                str(folder), preprocessor=None, dtype="float32"
            )
        except Exception as error:  # KerasHub's errors have no base in common
            raise ModelError(
                f"KerasHub cannot open the merged preset: {one_line(error)}; use --format hf"
            ) from error

    def logits(self, batch: Batch) -> NDArray[np.float32]:
        """Compute the logits after every token, `[B, L, vocabulary]`; not those at padding."""
        inputs = {"token_ids": batch.token_ids, "padding_mask": batch.padding_mask}
        return np.asarray(self._model.predict_on_batch(inputs), np.float32)
