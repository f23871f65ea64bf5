"""A frozen base whose decoder layers lie in pieces on all processes.

This is FSDP (Zhao et al. 2023, arXiv:2304.11277) as far as frozen weights need it. A layer's weights are put
together when it computes and taken apart behind it, forward and backward. The adapter, the embeddings and
the head stay whole in every process.
"""

import re
from typing import Any

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from kerastune.errors import ConfigError

_LAYER = re.compile(r"(?:^|\.)layers\.\d+$")


def shard_layers(model: Any) -> None:
    """Lay a model's decoder layers out over all processes, and put the rest where this one computes.

    Args:
        model: A causal language model of transformers, frozen, in the machine's memory.

    Raises:
        ConfigError: It has no decoder layers by the name that all known architectures give them.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    mesh = init_device_mesh(device, (torch.distributed.get_world_size(),))
    layers = [module for name, module in model.base_model.named_modules() if _LAYER.search(name)]
    if not layers:
        raise ConfigError(f"shard: found no decoder layers in {type(model).__name__}; leave shard out")
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    inside = {parameter for layer in layers for parameter in layer.parameters()}
    # The root has no weights of its own in pieces; it lets a layer's weights be fetched ahead of time.
    fully_shard(model.base_model, mesh=mesh, ignored_params=set(model.base_model.parameters()) - inside)
    model.to(device)
