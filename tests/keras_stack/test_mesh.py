"""A mesh of devices: the rules of its layouts, what is refused, and the same results as one device's.

Devices are simulated, in a process of its own: XLA decides how many there are when it is first used.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kerastune.cli import main
from kerastune.config import ModelSpec, RunConfig
from kerastune.errors import ConfigError, ModelError
from kerastune.keras_stack.layouts import split_axes, split_share
from kerastune.mesh import Mesh, parse_mesh
from kerastune.models import resolve_model
from tests.tiny_models import ARCHITECTURES

SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
import kerastune as kt
import kerastune.scoring
from kerastune.keras_stack import KerasStack
from kerastune.decoding import GenerationSpec, answers
from kerastune.session import open_session
from kerastune.config import RunConfig

table, folder, *models = sys.argv[1:]
rows = kt.read_dataset(table)
step, taken = KerasStack.train_step, []


class Killed(BaseException):
    pass


def fourth_step_dies(stack, batches, rate):
    taken.append(rate)
    if len(taken) == 4:
        raise Killed
    return step(stack, batches, rate)


def train(out, mesh, resume=False):
    # Batches of 5 rows, and 10 in all, divide by neither 2, 4 nor 8 devices.
    return kt.train(rows, out=out, show=False, model=models[0], dtype="float32", max_length=96, batch_size=5,
                    epochs=2, learning_rate=0.02, rank=4, mesh=mesh, resume=resume)


for name, mesh in (("one", None), ("both", "data=2,model=4"), ("rows", "data=4")):
    out = Path(folder) / name
    if name == "rows":  # begun on the mesh before, and taken up again on this one after the second step
        KerasStack.train_step = fourth_step_dies
        try:
            train(out, "data=2,model=4")
        except Killed:
            KerasStack.train_step = step
    run = train(out, mesh, resume=name == "rows")
    kerastune.scoring.pays = lambda length, rows: False
    scores = run.score(rows, show=False)
    kerastune.scoring.pays = lambda length, rows: length > 0
    reused = run.score(rows, show=False)
    run.write_submission(scores, rows, out / "submission.tsv")
    stack = run.session.stack
    prompts = [example.prompt_ids for example in run.session.encoder.encode(rows).examples[:3]]
    written = answers(stack, prompts, GenerationSpec(max_new_tokens=5, stop_ids=(1,), pad_id=0))
    lines = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    adapter = [one.b for _, one in sorted(stack.get_adapter().items())]
    np.savez(out / "found.npz", losses=[line["loss"] for line in lines if "loss" in line],
             scores=scores.log_probabilities, reused=reused.log_probabilities, ids=scores.ids,
             written=np.array(sum([list(one.token_ids) for one in written], [])),
             adapter=np.concatenate([b.ravel() for b in adapter]))
    (out / "placement.txt").write_text(stack.info.placement)
for model in models[1:]:  # the other families, untrained
    found = []
    for mesh in (None, "data=2,model=4"):
        options = {"model": model, "dtype": "float32", "max_length": 96, "mesh": mesh}
        config = RunConfig().with_options(options)
        found.append(open_session(config).score(rows, show=False).log_probabilities)
    np.savez(Path(folder) / (Path(model).name + ".npz"), one=found[0], both=found[1])
"""


@pytest.fixture(scope="module")
def families(make_tiny_model):
    return {name: make_tiny_model(architecture=name) for name in ("llama3", "qwen2")}


@pytest.fixture(scope="module")
def found(tiny_model, families, reviews_file, tmp_path_factory):
    """What one device and two meshes of eight came to."""
    folder = tmp_path_factory.mktemp("meshes")
    models = [str(files.path) for files in (tiny_model, *families.values())]
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT, reviews_file, folder, *models],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    return folder


@pytest.mark.parametrize("mesh", ["both", "rows"])
def test_a_mesh_gives_what_one_device_gives(found, mesh):
    one, several = np.load(found / "one/found.npz"), np.load(found / mesh / "found.npz")
    assert len(one["losses"]) == len(several["losses"]) == 4
    np.testing.assert_allclose(several["losses"], one["losses"], atol=1e-4)
    np.testing.assert_allclose(several["adapter"], one["adapter"], atol=1e-3)
    assert np.abs(one["adapter"]).max() > 0.01
    for name in ("scores", "reused"):
        np.testing.assert_allclose(several[name], one[name], atol=1e-4)
    # Every row once, in order.
    assert several["ids"].tolist() == [f"r{n}" for n in range(10)]
    assert several["written"].tolist() == one["written"].tolist()
    name = "submission.tsv"
    assert (found / mesh / name).read_bytes() == (found / "one" / name).read_bytes()


def test_the_share_that_is_split_is_said(found):
    assert (found / "one/placement.txt").read_text() == ""
    assert (found / "rows/placement.txt").read_text() == "4 devices, data=4, model=1"
    said = (found / "both/placement.txt").read_text()
    assert said.startswith("8 devices, data=2, model=4; 99.")
    assert said.endswith("% of the base's bytes are split over model")


@pytest.mark.parametrize("name", ["llama3", "qwen2"])
def test_every_family_scores_alike(found, families, name):
    arrays = np.load(found / f"{families[name].path.name}.npz")
    np.testing.assert_allclose(arrays["both"], arrays["one"], atol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_rules_of_every_family_split_nearly_all(make_tiny_model, architecture):
    from kerastune.keras_stack.backend import import_keras
    from kerastune.models.cache import cache_root

    import_keras("jax", cache_root())
    from kerastune.keras_stack.loading import load_model
    from kerastune.keras_stack.placement import Placement

    files = resolve_model(str(make_tiny_model(architecture=architecture).path))
    backbone, _ = load_model(files, "float32", Placement())
    shapes = {weight.path: tuple(weight.shape) for weight in backbone.weights}
    name, tied = type(backbone).__name__, backbone.token_embedding.tie_weights
    split = split_axes(name, tied, shapes, 4)
    kernels = {path for path in shapes if path.endswith("kernel") or "embeddings" in path}
    assert set(split) == kernels
    assert all(shapes[path][axis] % 4 == 0 for path, axis in split.items())
    assert split_share(split, shapes) > 0.97
    heads = 0 if architecture.startswith("gemma") else 1
    for path, axis in split.items():
        if path.endswith("/query/kernel"):
            assert axis == heads  # four heads on four devices
        if path.endswith(("/key/kernel", "/value/kernel")):
            assert axis == 1 - heads  # one or two heads: by the width
    assert split_axes(name, tied, shapes, 1) == {}
    with pytest.raises(ModelError, match=r"the rule .*kernel for \w+ matched none of its 2 weights"):
        split_axes(name, True, {"token_embedding/embeddings": (8, 4), "norm": (4,)}, 4)
    with pytest.raises(ModelError, match="received BertBackbone"):
        split_axes("BertBackbone", tied, shapes, 4)


def test_a_mesh_is_read_strictly():
    assert parse_mesh("data=2,model=4") == Mesh(data=2, model=4)
    assert parse_mesh(" model=2 , data=1").devices == 2
    for text in ("", "data", "data=0", "data=-1", "data=2,data=2", "data=1.5", "rows=2", "data=2;model=2"):
        with pytest.raises(ConfigError, match="mesh: expected data=N,model=N"):
            parse_mesh(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mesh": "data=2", "stack": "hf"}, "mesh: expected none on the hf stack, which takes torchrun"),
        ({"devices": 2, "backend": "torch"}, "devices: expected none on torch"),
        ({"mesh": "data=2", "backend": "tensorflow"}, "mesh: expected none on tensorflow"),
        ({"devices": 2, "mesh": "data=2"}, "devices: expected none beside --mesh"),
        ({"devices": 0}, "devices: expected a positive whole number"),
        ({"mesh": "model=2", "quantize": "int8"}, "quantize: expected none with a mesh that splits"),
        ({"mesh": "width=2"}, "mesh: expected data=N,model=N"),
    ],
)
def test_what_cannot_be_is_refused_by_name(options, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig().with_options(options)


def test_devices_are_a_mesh_of_copies():
    assert ModelSpec(devices=4).grid == ModelSpec(mesh="data=4").grid == Mesh(data=4)
    assert ModelSpec().grid is None


def test_more_devices_than_there_are_are_refused(tiny_model, reviews_file, tmp_path, capsys):
    words = ["train", "--model", str(tiny_model.path), "--train", str(reviews_file)]
    assert main([*words, "--out", str(tmp_path / "run"), "--mesh", "data=300,model=2"]) == 2
    said = capsys.readouterr().err
    assert "expected at most the" in said
    assert "received data=300,model=2, 600 devices" in said
