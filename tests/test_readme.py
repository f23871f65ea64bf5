"""The README's script: an adapter trained on Keras, used with transformers and PEFT alone."""

import subprocess
import sys
from pathlib import Path

from kerastune.dataset import read_dataset

README = Path(__file__).parent.parent / "README.md"


def test_the_plain_script_gives_the_labels_of_the_keras_run(train_tiny, tiny_model, reviews_file, tmp_path):
    run = train_tiny(epochs=15, learning_rate=0.02)
    code = next(
        block for block in README.read_text(encoding="utf-8").split("```python\n") if "PeftModel" in block
    )
    script = tmp_path / "plain.py"
    script.write_text(code.split("```")[0], encoding="utf-8")
    assert "keras" not in script.read_text().replace("kerastune.json", "")
    done = subprocess.run(
        [sys.executable, script, tiny_model.path, run.folder / "adapter", reviews_file],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
        cwd=tmp_path,
    )
    scores = run.score(read_dataset(reviews_file), show=False)
    expected = [f"{name}\t{label}" for name, label in zip(scores.ids, scores.predicted_labels, strict=True)]
    assert done.stdout.splitlines() == expected
    assert len(set(scores.predicted_labels)) == 2
