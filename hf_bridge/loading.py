"""Loading a base model with transformers: safetensors only, from disk only, on the device that is there."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from kerastune.config import Dtype, Quantized
from kerastune.errors import ModelError, one_line
from kerastune.extras import require
from kerastune.models import ModelFiles
from kerastune.models.stored import stored_dtype
from kerastune.precision import Decision, Hardware, decide_dtype, torch_device


class Loaded(NamedTuple):
    """A model, the kind of device that it is on, and the decision on its dtype."""

    model: Any
    device: str
    decision: Decision


def load_model(
    files: ModelFiles,
    dtype: Dtype,
    quantize: Quantized | None = None,
    *,
    alone: bool = True,
    shard: bool = False,
) -> Loaded:
    """Load a causal language model, frozen and in evaluation mode.

    Args:
        files: The base model, in Hugging Face layout.
        dtype: The option.
        quantize: The option.
        alone: Whether all of the machine's GPUs are this process'; else the one that torch is set to.
        shard: Whether the model is about to be laid out over processes, and is to stay in memory until then.

    Raises:
        ConfigError: float16 is asked for and overflows in this model.
        MissingExtraError: torch, transformers, peft or, where it quantises, bitsandbytes is not installed.
        ModelError: The files are damaged, of an unknown architecture, or a KerasHub preset.
    """
    if files.layout != "hf":
        raise ModelError(
            f"{files.name}: is a KerasHub preset, which the hf stack cannot load; give a folder in Hugging "
            "Face layout or a hub id, or use --stack keras"
        )
    # bitsandbytes, which PEFT imports where it is there, warns of kernels that nothing here uses.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    torch = require("torch", "hf")
    transformers = require("transformers", "hf")
    require("peft", "hf")
    if quantize is not None:
        require("bitsandbytes", "qlora")
    device = computing_device()
    decision = decide_dtype(dtype, device, files.model_type).said()
    quantised = quantize is not None or "quantization_config" in files.config
    place: Any = None
    if device.kind == "gpu" and not shard:
        place = "auto" if alone else {"": torch.cuda.current_device()}
    with _no_progress_bar(transformers):
        try:
            if device.kind == "cpu" and not quantised and stored_dtype(files) != decision.dtype:
                model = _converted(files, getattr(torch, decision.dtype))
            else:
                model = transformers.AutoModelForCausalLM.from_pretrained(
                    files.path,
                    dtype=getattr(torch, decision.dtype),
                    device_map=place,
                    quantization_config=_quantization(quantize, decision.dtype),
                    use_safetensors=True,
                    local_files_only=True,
                )
        except Exception as error:  # transformers, safetensors and torch raise errors of no common base
            raise ModelError(
                f"{files.name}: transformers cannot load {files.path}: {one_line(error)}; fetch the model "
                "again, or use an architecture that it knows"
            ) from error
    model.requires_grad_(False)
    model.eval()
    from hf_bridge.norms import fuse_norms

    fuse_norms(model)
    for module in model.modules():
        # bitsandbytes lays NF4 weights out for a fast product of some CPUs when they are first read in
        # evaluation mode, and that product has no gradient: what is beneath would be trained on nothing.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return Loaded(model, device.kind, decision)


def _converted(files: ModelFiles, dtype: Any) -> Any:
    """The same model as transformers loads, whose file in another dtype is never in memory as a whole."""
    torch, transformers = require("torch", "hf"), require("transformers", "hf")
    from hf_bridge.reading import read_weights

    config = transformers.AutoConfig.from_pretrained(files.path, local_files_only=True)
    with torch.device("meta"):  # says which class transformers takes, and which part of the configuration
        empty = transformers.AutoModelForCausalLM.from_config(config)
    model = type(empty).from_pretrained(
        None, config=empty.config, dtype=dtype, state_dict=read_weights(files, dtype)
    )
    model.name_or_path = model.config.name_or_path = str(files.path)
    return model


def _quantization(quantize: Quantized | None, dtype: str) -> Any:
    """How bitsandbytes keeps the linear layers; NF4 with its scales quantised too, as QLoRA has it."""
    if quantize is None:
        return None
    torch, config = require("torch", "hf"), require("transformers", "hf").BitsAndBytesConfig
    if quantize == "int8":
        return config(load_in_8bit=True)
    return config(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )


def computing_device() -> Hardware:
    """Say what transformers computes on; of CPUs, some multiply bfloat16.

    Raises:
        MissingExtraError: torch is not installed.
    """
    torch = require("torch", "hf")
    device = torch_device()
    if device.kind != "cpu":
        return device
    able = torch.cpu.get_capabilities()
    fast = bool(able.get("avx512_bf16") or able.get("amx_bf16"))
    return Hardware("cpu", fast, "cpu with AMX or AVX-512 for bfloat16" if fast else "cpu")


@contextmanager
def _no_progress_bar(transformers: Any) -> Iterator[None]:
    bars = transformers.utils.logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()
