"""Damaged and odd input into everything that reads: nothing but our own errors comes out, soon and in bounds.

`KERASTUNE_FUZZ=50000 pytest tests/test_fuzz.py` takes so many inputs in place of the few thousand of a run.
"""

import json
import os
import resource
import shutil
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from kerastune.adapter import read_peft
from kerastune.adapter_card import read_card
from kerastune.calibration import Calibration
from kerastune.chat.messages import Dialogue
from kerastune.chat.sandbox import compile_template
from kerastune.checkpoint import Checkpoint, _files, read_checkpoint, write_checkpoint
from kerastune.config_file import read_config
from kerastune.dataset import read_dataset
from kerastune.encoding import Encoder
from kerastune.errors import KerastuneError
from kerastune.evaluated_scores import read_evaluated
from kerastune.few_shot import read_shots
from kerastune.float_tensors import read_float_tensors
from kerastune.models import ModelFiles, resolve_model
from kerastune.models.folder import check_safetensors
from kerastune.models.gguf_convert import convert_gguf
from kerastune.partial_scores import open_partial
from kerastune.saved_scores import load_scores
from kerastune.submission import check_submission
from kerastune.task import get_task
from kerastune.template import get_template, literal_template
from kerastune.tokenizer import load_tokenizer
from tests.conftest import CORPUS, SPECIAL, write_model_folder
from tests.damage import damaged_bytes, damaged_json, damaged_json_bytes, junk
from tests.tiny_gguf import write_gguf

# Cheap ones get more than a fair share of the inputs, slow ones less.
SHARES = {
    "tables": 8,
    "templates": 4,
    "chat templates": 3,
    "dialogues": 3,
    "safetensors": 5,
    "adapter configs": 4,
    "cards": 3,
    "options": 4,
    "scores": 4,
    "evaluated": 2,
    "partial scores": 2,
    "gguf": 3,
    "tokenizers": 2,
    "tokenizer settings": 2,
    "model configs": 2,
    "checkpoints": 3,
    "shots and calibration": 2,
    "submissions": 2,
}
INPUTS = int(os.environ.get("KERASTUNE_FUZZ", "3000"))
MEMORY, SECONDS = 600e6, 5.0


def inputs(name):
    """So many inputs as are this reader's share."""
    return settings(
        max_examples=max(1, round(INPUTS * SHARES[name] / sum(SHARES.values()))),
        deadline=None,  # the clock also counts what others do; see `refused_or_read`
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize="KERASTUNE_FUZZ" not in os.environ,
    )


@pytest.fixture(autouse=True, scope="module")
def _bounded_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    # An input that asks for all of the machine's memory shall fail its test, and not end the process.
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + int(10 * MEMORY), hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before < MEMORY


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def refused_or_read(read):
    """Read, within five seconds of the processor's time; None where it is refused."""
    begun = time.process_time()
    try:
        return read()
    except KerastuneError:
        return None
    finally:
        assert time.process_time() - begun < SECONDS


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


TSV = 'id\tcomment\tlabel\nr1\t국물이 진해요\t1\nr2\t"별로\t0\r\nr3\tNA ㅠㅠ\t1\n'.encode()
CSV = 'id,comment,label\nr1,"국물이, ""진해요""",1\nr2,별로\n,0\n'.encode()
JSONL = '{"id": "r1", "comment": "좋아요", "label": 1}\n{"id": 2, "comment": "별로", "label": 0}\n'.encode()


@inputs("tables")
@given(
    content=damaged_bytes(TSV, CSV, JSONL, TSV.decode().encode("cp949"), TSV.decode().encode("utf-16")),
    extension=st.sampled_from([".tsv", ".txt", ".csv", ".jsonl", ".parquet"]),
    labelled=st.booleans(),
)
def test_tables(folder, content, extension, labelled):
    path = written(folder / f"t{extension}", content)
    dataset = refused_or_read(lambda: read_dataset(path, labelled=labelled))
    if dataset is not None:
        assert len(dataset) == len(dataset.ids) == len(set(dataset.ids)) > 0
        assert all(text.strip() for text in dataset.texts)


FRAGMENTS = st.sampled_from(
    [
        "{comment}",
        "{",
        "}",
        "{{",
        "}}",
        "{0}",
        "{}",
        "{comment!r}",
        "{comment:>9}",
        "{a.b}",
        "{label}",
        "답:",
        "\\n",
        "\n",
        " ",
    ]
)


@inputs("templates")
@given(
    prompt=st.lists(st.one_of(FRAGMENTS, st.text(max_size=6)), max_size=8).map("".join),
    value=st.one_of(st.text(max_size=30), FRAGMENTS),
    literal=st.booleans(),
)
def test_templates(prompt, value, literal):
    template = refused_or_read(lambda: literal_template(prompt) if literal else get_template(prompt))
    if template is None:
        return
    empty = refused_or_read(lambda: template.render_prompt(dict.fromkeys(template.slots, "")))
    marked = template.render_prompt(dict.fromkeys(template.slots, value))
    assert empty is not None
    assert len(marked) == len(empty) + len(value) * prompt_slots(template)
    assert template.render_completion(value).endswith(value)


def prompt_slots(template):
    return len(template.render_prompt(dict.fromkeys(template.slots, "x"))) - len(
        template.render_prompt(dict.fromkeys(template.slots, ""))
    )


JINJA = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m.content | trim }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ATTACKS = st.sampled_from(
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{% import 'x' as y %}",
        "{% include '/etc/passwd' %}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ raise_exception('no') }}",
        "{{ messages[99].content }}",
        "{{ 1/0 }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ range(10**9) | list }}",
        "{{ messages | tojson }}",
        "{{ self }}",
        "{{ lipsum() }}",
        "{{ namespace(a=1) }}",
        "{{ messages.__class__ }}",
        "{% for a in b %}",
        "{{ undefined.x }}",
        "{{ 'a' | attr('__class__') }}",
        "{{ '%s' % messages }}",
        "{{ '{0.__class__}'.format(1) }}",
    ]
)


@inputs("chat templates")
@given(
    source=st.one_of(
        st.tuples(ATTACKS, ATTACKS).map("".join),
        damaged_bytes(JINJA.encode()).map(lambda content: content.decode("utf-8", "replace")),
    ),
    content=st.text(max_size=20),
)
def test_chat_templates(source, content):
    messages = [{"role": "user", "content": content}]
    before = json.dumps(messages)
    text = refused_or_read(
        lambda: compile_template(source, "t")(messages=messages, bos_token="<s>", add_generation_prompt=True)
    )
    assert json.dumps(messages) == before
    assert text is None or "root:x:0" not in text


MESSAGES = [
    {"role": "system", "content": "짧게"},
    {"role": "user", "content": "안녕"},
    {"role": "assistant", "content": "네"},
]


@inputs("dialogues")
@given(messages=damaged_json(MESSAGES))
def test_dialogues(messages):
    refused_or_read(lambda: Dialogue.of(messages))


PREFIX = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
FACTORS = {f"{PREFIX}A.weight": np.ones((2, 4), np.float32), f"{PREFIX}B.weight": np.ones((4, 2), np.float32)}
TENSORS = save(FACTORS, metadata={"format": "pt"})


@inputs("safetensors")
@given(content=damaged_bytes(TENSORS))
def test_safetensors(folder, content):
    path = written(folder / "a.safetensors", content)
    refused_or_read(lambda: check_safetensors(path))
    refused_or_read(lambda: read_float_tensors(path))


PEFT = {
    "peft_type": "LORA",
    "base_model_name_or_path": "x/y",
    "r": 2,
    "lora_alpha": 4,
    "target_modules": ["q_proj"],
    "rank_pattern": {"q_proj": 2},
    "alpha_pattern": {},
    "bias": "none",
    "use_rslora": False,
}


@inputs("adapter configs")
@given(config=damaged_json_bytes(PEFT), whole=st.booleans(), weights=damaged_bytes(TENSORS))
def test_adapter_configs(folder, config, whole, weights):
    written(folder / "adapter_config.json", config)
    written(folder / "adapter_model.safetensors", TENSORS if whole else weights)
    factors = refused_or_read(lambda: read_peft(folder))
    for update in (factors or {}).values():
        assert update.a.shape[0] == update.b.shape[1] == update.rank


CARD = {
    "base_id": "x",
    "model": "x",
    "base_fingerprint": "f",
    "tokenizer_fingerprint": "t",
    "task": "review-sentiment",
    "template": "t",
    "prompt": "{comment}",
    "completion": " {label}",
    "labels": [0, 1],
    "label_words": ["a", "b"],
    "max_length": 9,
    "layout": "peft",
    "version": "0",
}


@inputs("cards")
@given(card=damaged_json_bytes(CARD))
def test_cards(folder, card):
    written(folder / "kerastune.json", card)
    refused_or_read(lambda: read_card(folder))


TOML = b"""task = "review-sentiment"
[model]
model = "gemma3-270m"
[lora]
rank = 4
targets = ["all"]
[train]
epochs = 2
learning_rate = 1e-3
"""


@inputs("options")
@given(
    content=damaged_bytes(TOML),
    name=st.sampled_from(["rank", "alpha", "epochs", "targets", "dtype", "seed", "warmup"]),
    value=junk,
)
def test_options(folder, content, name, value):
    config = refused_or_read(lambda: read_config(written(folder / "c.toml", content)))
    if config is not None:
        refused_or_read(lambda: config.with_options({name: value}))


SCORES = (
    b"id\tlog_probability_0\tlog_probability_1\n"
    b"r1\t-0.6931471805599453\t-0.6931471805599453\nr2\t-0.1053605156578263\t-2.302585092994046\n"
)


@inputs("scores")
@given(content=damaged_bytes(SCORES))
def test_scores(folder, content):
    scores = refused_or_read(lambda: load_scores(written(folder / "s.tsv", content)))
    if scores is not None:
        np.testing.assert_allclose(scores.probabilities.sum(axis=1), 1, atol=1e-5)


EVALUATED = b"id\tlabel\tpredicted\tlog_probability_0\tlog_probability_1\nr1\t0\t1\t-0.7\t-0.6\n"


@inputs("evaluated")
@given(content=damaged_bytes(EVALUATED))
def test_evaluated(folder, content):
    refused_or_read(lambda: read_evaluated(written(folder / "e.tsv", content), "review-sentiment"))


PARTIAL = (
    b'{"identity": {"input": "a", "chunk": "2048"}, "out": "/x/s.tsv", "runs_on": {"backend": "jax"}}\n'
    b"r1\t-0.7\t-0.6\nr2\t-0.7\t-0.6\n"
)


@inputs("partial scores")
@given(content=damaged_bytes(PARTIAL))
def test_partial_scores(folder, content):
    def read():
        path = written(folder / "p", content)
        with open_partial(path, ("r1", "r2"), (0, 1), generates=False, identity={"input": "a"}) as partial:
            return partial.rows, partial.out

    refused_or_read(read)


@pytest.fixture(scope="module")
def gguf(folder):
    write_gguf(folder / "whole.gguf")
    return (folder / "whole.gguf").read_bytes()


@inputs("gguf")
@given(data=st.data())
def test_gguf(folder, gguf, data):
    head, tail = gguf[:7000], gguf[7000:]
    content = data.draw(damaged_bytes(head)) + data.draw(st.sampled_from([tail, tail, tail[:-40], b""]))
    out = folder / "converted"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    refused_or_read(lambda: convert_gguf(written(folder / "x.gguf", content), out))


@pytest.fixture(scope="module")
def model(train_tokenizer_folder):
    return train_tokenizer_folder(CORPUS)


def small(content):
    """A tokenizer.json without most of its pieces, so that damage hits the rest."""
    kept = {token: number for token, number in content["model"]["vocab"].items() if number < 280}
    merges = [pair for pair in content["model"]["merges"] if {*pair, "".join(pair)} <= kept.keys()]
    return content | {"model": content["model"] | {"vocab": kept, "merges": merges}}


@inputs("tokenizers")
@given(data=st.data())
def test_tokenizers(folder, model, data):
    whole = small(json.loads((model / "tokenizer.json").read_text(encoding="utf-8")))
    place = folder / "tokenizer"
    place.mkdir(exist_ok=True)
    write_model_folder(place, whole)
    written(place / "tokenizer.json", data.draw(damaged_json_bytes(whole)))
    encode_with(place)


def encode_with(place):
    def encode():
        files = ModelFiles(name="x", base_id="x", path=place, layout="hf", cache_dir=place / "cache")
        tokenizer = load_tokenizer(files)
        rows = read_dataset(pd.DataFrame({"id": ["a"], "comment": ["국물 <eos>"], "label": [1]}))
        task = get_task("review-sentiment")
        template = get_template(task.template)
        return Encoder(task=task, template=template, tokenizer=tokenizer, max_length=256).encode(rows)

    refused_or_read(encode)


@inputs("tokenizer settings")
@given(data=st.data())
def test_tokenizer_settings(folder, model, data):
    place = folder / "settings"
    place.mkdir(exist_ok=True)
    shutil.copy(model / "tokenizer.json", place)
    settings_ = json.loads((model / "tokenizer_config.json").read_text(encoding="utf-8"))
    written(place / "tokenizer_config.json", data.draw(damaged_json_bytes(settings_)))
    written(place / "config.json", data.draw(damaged_json_bytes({"eos_token_id": [SPECIAL.index("<eos>")]})))
    written(place / "generation_config.json", data.draw(damaged_json_bytes({"eos_token_id": 1})))
    encode_with(place)


@inputs("model configs")
@given(data=st.data())
def test_model_configs(folder, tiny_model, data):
    place = folder / "model"
    if not place.exists():
        shutil.copytree(tiny_model.path, place, ignore=shutil.ignore_patterns("cache"))
    config = json.loads((tiny_model.path / "config.json").read_text(encoding="utf-8"))
    written(place / "config.json", data.draw(damaged_json_bytes(config)))
    index = {"weight_map": {"a": "model.safetensors"}}
    (place / "model.safetensors.index.json").unlink(missing_ok=True)
    if data.draw(st.booleans()):
        written(place / "model.safetensors.index.json", data.draw(damaged_json_bytes(index)))
    files = refused_or_read(lambda: resolve_model(str(place), cache_dir=folder / "cache"))
    if files is not None:
        refused_or_read(lambda: (files.model_type, files.fingerprint))


STATE = {"a": np.ones(4, np.float32), "best.a": np.ones(4, np.float32), "optimizer.0": np.asarray(3)}


@inputs("checkpoints")
@given(data=st.data())
def test_checkpoints(folder, data):
    place = folder / "checkpoint"
    shutil.rmtree(place, ignore_errors=True)
    for step in (1, 2):
        write_checkpoint(
            place,
            Checkpoint(
                digest="d",
                step=step,
                epochs_ended=0,
                best_loss=None,
                best_epoch=0,
                history_bytes=9,
                variables=STATE,
            ),
        )
    newest, before = _files(place)
    newest.write_bytes(data.draw(damaged_bytes(newest.read_bytes())))
    if data.draw(st.booleans()):
        before.write_bytes(data.draw(damaged_bytes(before.read_bytes())))
    found = refused_or_read(lambda: read_checkpoint(place, "d"))
    assert found is None or found.step in (1, 2)


SHOTS = [{"row_id": "r1", "fields": {"comment": "좋아요"}, "label": 1}]


@inputs("shots and calibration")
@given(
    shots=st.one_of(damaged_json_bytes(SHOTS), damaged_json_bytes({"shots": SHOTS})),
    value=damaged_json_bytes({"labels": [0, 1], "scale": 1.0, "bias": [0, 0]}),
)
def test_shots_and_calibration(folder, shots, value):
    refused_or_read(lambda: read_shots(written(folder / "shots.json", shots)))
    written(folder / "calibration.json", value)
    refused_or_read(lambda: Calibration.load(folder))


@inputs("submissions")
@given(content=damaged_bytes(TSV.replace(b"\r", b"")), extension=st.sampled_from([".tsv", ".csv"]))
def test_submissions(folder, content, extension):
    rows = read_dataset(written(folder / "rows.tsv", TSV.replace(b'"', b"").replace(b"\r", b"")))
    with suppress(FileNotFoundError):
        refused_or_read(lambda: check_submission(written(folder / f"s{extension}", content), rows))
