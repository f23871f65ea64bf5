"""Where variables, inputs and outputs are: on one device, or on a mesh of them through `keras.distribution`.

Frozen weights are split as `kerastune.keras_stack.layouts` says. Whatever else a model has, an adapter and
its optimizer's moments among it, is on every device whole: it is small, and a checkpoint of one mesh goes on
with another. Rows of a batch are split over `data`.
"""

from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np

from kerastune.batching import Batch
from kerastune.errors import ConfigError
from kerastune.keras_stack.layouts import axes_of, split_axes, split_share
from kerastune.mesh import Mesh
from kerastune.row_padding import pad_rows


class Placement:
    """One device, where there is nothing to place."""

    #: What the rows of a batch must be a multiple of.
    multiple = 1
    #: What there is to say of it.
    note = ""

    def plan(self, backbone: Any) -> None:
        """Decide where the weights of a backbone, which has none yet, are going to be."""

    def weight(self, variable: Any, value: np.ndarray[Any, Any], dtype: str) -> Any:  # noqa: ARG002
        """Put a weight that was read where it belongs."""
        return keras.ops.convert_to_tensor(value, dtype=dtype)

    def variables(self, variables: Iterable[Any]) -> None:
        """Put variables where they belong."""

    def rows(self, batch: Batch) -> Batch:
        """Make a batch's rows divide."""
        return pad_rows(batch, self.multiple)

    def inputs(self, inputs: Any) -> Any:
        """Put arrays of a batch, nested in any way, where they are computed with."""
        return inputs

    def jit(self, function: Callable[..., Any], outputs: Any = "whole") -> Callable[..., Any]:  # noqa: ARG002
        """Compile on JAX.

        Args:
            function: The function.
            outputs: `"whole"` for arrays that every device has, `"rows"` for those that are split by their
                first axis, or a tuple of these for a tuple.
        """
        import jax

        compiled: Callable[..., Any] = jax.jit(function)
        return compiled


class MeshPlacement(Placement):
    """A mesh of devices, on JAX.

    Args:
        mesh: The mesh.

    Raises:
        ConfigError: There are fewer devices.
    """

    def __init__(self, mesh: Mesh) -> None:
        distribution = keras.distribution
        present = distribution.list_devices()
        if mesh.devices > len(present):
            raise ConfigError(
                f"mesh: expected at most the {len(present)} device(s) that JAX finds, received "
                f"{mesh}, {mesh.devices} devices; lower them (a run "
                "that was trained so takes --mesh data=1 or --devices 1)"
            )
        self._mesh, self.multiple = mesh, mesh.data
        grid = distribution.DeviceMesh((mesh.data, mesh.model), ["data", "model"], present[: mesh.devices])
        self._layouts = distribution.LayoutMap(grid)
        self._distribution = distribution.ModelParallel(layout_map=self._layouts, batch_dim_name="data")
        if mesh.model == 1:
            line = distribution.DeviceMesh((mesh.data,), ["data"], present[: mesh.devices])
            self._distribution = distribution.DataParallel(device_mesh=line, auto_shard_dataset=False)
        self._grid = self._distribution.device_mesh
        self.note = f"{mesh.devices} devices, data={mesh.data}, model={mesh.model}"

    def plan(self, backbone: Any) -> None:
        """Split the weights by the family's rules; see `Placement.plan`."""
        if self._mesh.model == 1:
            return
        shapes = {weight.path: tuple(weight.shape) for weight in backbone.weights}
        tied = backbone.token_embedding.tie_weights
        split = split_axes(type(backbone).__name__, tied, shapes, self._mesh.model)
        for path, axis in split.items():
            self._layouts[path] = axes_of(axis, len(shapes[path]))
        self.note += f"; {split_share(split, shapes):.1%} of the base's bytes are split over model"

    def weight(self, variable: Any, value: np.ndarray[Any, Any], dtype: str) -> Any:
        """Put each device's part of a weight there; see `Placement.weight`."""
        import jax

        return _on_devices(np.asarray(value).astype(jax.numpy.dtype(dtype)), self._sharding(variable))

    def variables(self, variables: Iterable[Any]) -> None:
        """Give variables their layouts; see `Placement.variables`."""
        for variable in variables:
            if variable._layout is None:
                value = _on_devices(np.asarray(variable.value), self._sharding(variable))
                variable._layout = self._distribution.get_variable_layout(variable)
                variable.assign(value)

    def inputs(self, inputs: Any) -> Any:
        """Split arrays by rows; see `Placement.inputs`."""
        import jax

        def place(array: Any) -> Any:
            if isinstance(array, jax.Array) and array.committed:  # what a program of this mesh returned
                return array
            value = np.asarray(array)
            rows = value.ndim > 0 and len(value) % self.multiple == 0
            return _on_devices(value, self._output("rows" if rows else "whole"))

        return jax.tree.map(place, inputs)

    def jit(self, function: Callable[..., Any], outputs: Any = "whole") -> Callable[..., Any]:
        """Compile for the mesh; see `Placement.jit`."""
        import jax

        named = tuple(map(self._output, outputs)) if isinstance(outputs, tuple) else self._output(outputs)
        compiled: Callable[..., Any] = jax.jit(function, out_shardings=named)
        return compiled

    def _sharding(self, variable: Any) -> Any:
        return self._distribution.get_variable_layout(variable).backend_layout

    def _output(self, kind: str) -> Any:
        axes = ("data",) if kind == "rows" else ()
        return keras.distribution.TensorLayout(axes, self._grid).backend_layout


def _on_devices(value: np.ndarray[Any, Any], sharding: Any) -> Any:
    """Put an array that every process has on the devices, each process on its own."""
    import jax

    return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])


def placement_of(mesh: Mesh | None) -> Placement:
    """The placement of a mesh; one device where there is none.

    Raises:
        ConfigError: There are fewer devices.
    """
    return Placement() if mesh is None or mesh.devices == 1 else MeshPlacement(mesh)
