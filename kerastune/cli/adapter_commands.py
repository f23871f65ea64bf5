"""The commands on adapters and models: convert, merge, export."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

if TYPE_CHECKING:
    from kerastune.config import ModelSpec
    from kerastune.merging import Format
    from kerastune.models.gguf_writer import GgufKind

Model = Annotated[
    str | None, typer.Option(help="The base model.", show_default="what the adapter or the run names")
]
Backend = Annotated[
    str | None, typer.Option(help="Keras' backend: jax, tensorflow or torch.", show_default="jax")
]


def convert(
    source: Annotated[Path, typer.Argument(metavar="ADAPTER", help="A .lora.h5 file, an adapter or a run.")],
    out: Annotated[Path, typer.Option(help="The adapter's folder, or a .lora.h5 file.")],
    model: Model = None,
    compact: Annotated[
        int | None,
        typer.Option(
            metavar="RANK", help="The highest rank of a layer, by truncated SVD.", show_default="exact"
        ),
    ] = None,
    backend: Backend = None,
) -> None:
    """Convert KerasHub's own adapter file to PEFT's format, and back.

    Example: kerastune convert mine.lora.h5 --model gemma3-270m --out adapter
    """
    from kerastune.console import print_converted
    from kerastune.converting import convert as run

    spec = _spec(backend=backend)
    print_converted(run(source, out, model=model, compact=compact, backend=spec.backend))


def merge(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="The folder of a run or of an adapter; several in the order of their training.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="A new folder.")],
    format: Annotated[str, typer.Option(help="hf: for transformers; keras: a KerasHub preset.")] = "hf",
    model: Model = None,
    dtype: Annotated[
        str, typer.Option(help="The weights' dtype: float32, bfloat16 or float16; auto keeps the base's.")
    ] = "auto",
    backend: Backend = None,
    input: Annotated[
        Path | None,
        typer.Option(
            "--input",
            help="The table on whose first rows the logits are compared.",
            show_default="the packaged reviews",
        ),
    ] = None,
) -> None:
    """Add an adapter to its base for good, and compare the logits before and after.

    Example: kerastune merge runs/mine --out merged --format hf
    Example: kerastune merge runs/chat runs/dpo --out merged
    """
    from kerastune.console import print_merged
    from kerastune.merging import merge as run
    from kerastune.text_layers import want_text_layers

    want_text_layers()
    spec, written = _spec(backend=backend, dtype=dtype), cast("Format", format)  # merge checks it
    print_merged(
        run(sources, out, format=written, model=model, dtype=spec.dtype, backend=spec.backend, input=input)
    )


def export(
    source: Annotated[
        str, typer.Argument(metavar="RUN|MODEL", help="The folder of a run or an adapter, or a model.")
    ],
    out: Annotated[Path, typer.Option(help="The file, .gguf.")],
    gguf: Annotated[
        str, typer.Option(help="The matrices' number format: f16, or q8_0 with 8 bits a weight.")
    ] = "f16",
    model: Model = None,
) -> None:
    """Write a model, with its adapter merged, as a GGUF file for llama.cpp; read it back and compare.

    Example: kerastune export runs/mine --gguf q8_0 --out mine.gguf
    """
    from kerastune.console import print_exported
    from kerastune.exporting import export as run

    print_exported(run(source, out, gguf=cast("GgufKind", gguf), model=model))  # export checks it


def _spec(**options: str | None) -> "ModelSpec":
    """Check options as a run's are checked."""
    from kerastune.config import RunConfig

    return RunConfig().with_options(options).model
