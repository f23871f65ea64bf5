"""Each stack trains and scores where the other's frameworks are not installed."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys

MISSING = set(sys.argv[1].split(","))

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in MISSING else self.finder.find_spec(name, path, target)

sys.meta_path = [Without(finder) for finder in sys.meta_path]
import kerastune as kt

stack, model, table, folder = sys.argv[2:]
rows = kt.read_dataset(table)
run = kt.train(rows, out=folder, show=False, model=model, stack=stack, max_length=96, batch_size=5,
               epochs=1, rank=2)
print(run.trained.steps, run.score(rows, show=False).probabilities.shape)
assert not MISSING & {name.split(".")[0] for name in sys.modules}
"""
FOREIGN = {"keras": "torch,transformers,peft,trl,accelerate", "hf": "keras,keras_hub,jax,tensorflow,trl"}


def run_without(missing, stack, model, table, folder):
    words = [sys.executable, "-c", SCRIPT, missing, stack, str(model.path), str(table), str(folder)]
    return subprocess.run(words, capture_output=True, text=True, encoding="utf-8")


@pytest.mark.parametrize("stack", ["keras", "hf"])
def test_a_stack_needs_none_of_the_others_packages(tiny_model, reviews_file, tmp_path, stack):
    done = run_without(FOREIGN[stack], stack, tiny_model, reviews_file, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == "2 (10, 2)"


@pytest.mark.parametrize(("stack", "package"), [("keras", "keras_hub"), ("hf", "peft")])
def test_a_missing_extra_is_named(tiny_model, reviews_file, tmp_path, stack, package):
    done = run_without(package, stack, tiny_model, reviews_file, tmp_path / "run")
    assert done.returncode == 1
    assert f"kerastune[{stack}]" in done.stderr.splitlines()[-1]
