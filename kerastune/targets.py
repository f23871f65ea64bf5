"""The names of the layers that an adapter may change: one table, for both stacks.

KerasHub calls a layer `query` or `ffw_gating`, Hugging Face `q_proj` or `gate_proj`. On disk an adapter
has Hugging Face's module paths, such as `model.layers.3.self_attn.q_proj`.
"""

import difflib
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from kerastune.errors import ConfigError

#: Hugging Face's name -> its place in a decoder layer and KerasHub's names, family by family.
_TABLE = {
    "q_proj": ("self_attn", ("query",)),
    "k_proj": ("self_attn", ("key",)),
    "v_proj": ("self_attn", ("value",)),
    "o_proj": ("self_attn", ("attention_output",)),
    "gate_proj": ("mlp", ("ffw_gating", "feedforward_gate_dense")),
    "up_proj": ("mlp", ("ffw_gating_2", "feedforward_intermediate_dense")),
    "down_proj": ("mlp", ("ffw_linear", "feedforward_output_dense")),
}

#: KerasHub's name -> Hugging Face's.
KERAS_TO_HF: Mapping[str, str] = MappingProxyType(
    {keras: hf for hf, (_, names) in _TABLE.items() for keras in names}
)


def canonical_targets(targets: Iterable[str]) -> tuple[str, ...]:
    """Say targets in Hugging Face's names, each once, in the table's order.

    Args:
        targets: Names of either stack; `"all"` stands for every linear layer of a decoder layer.

    Raises:
        ConfigError: A name is unknown (the near one is suggested), or cannot be adapted.

    Example:
        >>> canonical_targets(["value", "q_proj"])
        ('q_proj', 'v_proj')
    """
    known = {**KERAS_TO_HF, **{hf: hf for hf in _TABLE}}
    found: set[str] = set()
    for target in targets:
        if target == "all":
            found.update(_TABLE)
        elif target in known:
            found.add(known[target])
        else:
            matches = difflib.get_close_matches(target, known, n=1, cutoff=0.5)
            hint = f"did you mean {matches[0]!r}?" if matches else f"there are: all, {', '.join(known)}"
            raise ConfigError(f"targets: no layer {target!r} can be adapted; {hint}")
    return tuple(name for name in _TABLE if name in found)


def targeted(modules: Iterable[str], targets: Iterable[str]) -> list[str]:
    """Choose the modules that targets mean.

    Args:
        modules: Paths of the linear layers that a base has.
        targets: Names of either stack, or `"all"`.

    Raises:
        ConfigError: A name is unknown, or the base has no such layer.

    Example:
        >>> modules = ["model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj"]
        >>> targeted(modules, ["query"])
        ['model.layers.0.self_attn.q_proj']
    """
    kinds = {module: module.rsplit(".", 1)[1] for module in modules}
    wanted, there = canonical_targets(targets), set(kinds.values())
    for name in wanted:
        if name not in there:
            raise ConfigError(f"targets: the model has no layer {name!r}; it has: {', '.join(sorted(there))}")
    return [module for module, kind in kinds.items() if kind in wanted]


def module_path(layer: int, name: str) -> str:
    """The path of a linear layer in a Hugging Face decoder.

    Args:
        layer: Index of the decoder layer, from 0.
        name: Hugging Face's name of the linear layer.

    Example:
        >>> module_path(3, "gate_proj")
        'model.layers.3.mlp.gate_proj'
    """
    return f"model.layers.{layer}.{_TABLE[name][0]}.{name}"
