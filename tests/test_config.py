"""Options: TOML and back, strictly."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerastune.config import LoraSpec, ModelSpec, RunConfig, ScoreSpec, TrainSpec
from kerastune.config_file import read_config, write_config
from kerastune.errors import ConfigError

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
counts = st.integers(1, 10**9)
positive = st.floats(0, 1e9, exclude_min=True)
fractions = st.floats(0, 1, exclude_max=True)
targets = st.lists(st.sampled_from(["query", "q_proj", "value", "ffw_gating", "all"]), min_size=1).map(tuple)
configs = st.builds(
    RunConfig,
    task=texts,
    template=st.none() | texts,
    verbalizer=st.none() | texts,
    train_file=st.none() | texts,
    validation_file=st.none() | texts,
    model=st.builds(ModelSpec, model=texts, backend=st.sampled_from(["jax", "tensorflow", "torch"])),
    lora=st.builds(
        LoraSpec, rank=counts, alpha=st.none() | positive, targets=targets, dropout=fractions,
        layout=st.sampled_from(["native", "peft"]),
    ),
    train=st.builds(
        TrainSpec, epochs=counts, learning_rate=positive, warmup=fractions, clip_norm=st.just(0.0) | positive,
        loss_on=st.sampled_from([None, "label", "completion", "all"]), seed=st.integers(0, 2**62),
    ),
    score=st.builds(ScoreSpec, mode=st.sampled_from(["likelihood", "generate"]), score_batch_size=counts),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("config")


@given(config=configs)
def test_toml_and_back(folder, config):
    write_config(config, folder / "config.toml")
    assert read_config(folder / "config.toml") == config


@given(config=configs)
def test_every_option_can_be_given_by_name(config):
    sections = dataclasses.asdict(config)
    flat = {name: value for name, value in sections.items() if not isinstance(value, dict)}
    for section in sections.values():
        if isinstance(section, dict):
            flat |= section
    assert RunConfig().with_options(flat) == config


def test_what_is_not_named_keeps_its_default(tmp_path):
    (tmp_path / "c.toml").write_text("[lora]\nrank = 4\n[train]\nlearning_rate = 1\n")
    config = read_config(tmp_path / "c.toml")
    assert config == RunConfig(lora=LoraSpec(rank=4), train=TrainSpec(learning_rate=1.0))
    assert isinstance(config.train.learning_rate, float)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("tsak = 'x'", "unknown option 'tsak'; did you mean 'task'?"),
        ("rank = 4", "unknown option 'rank'; it belongs under [lora]"),
        ("[lora]\nrnak = 4", "lora: unknown option 'rnak'; did you mean 'rank'?"),
        ("[lora]\nzzz = 4", "unknown option 'zzz'; there are: rank, alpha, targets, dropout, layout"),
        ("lora = 4", "lora: expected a section of options, received 4"),
        ("[lora]\nrank = '4'", "lora: rank: expected int, received '4'"),
        ("[lora]\nrank = true", "lora: rank: expected int, received True"),
        ("[lora]\nrank = 0", "lora: rank: expected 1 or more, received 0"),
        ("[lora]\nalpha = 0.0", "lora: alpha: expected a finite number more than 0, received 0.0"),
        ("[lora]\ndropout = 1.0", "dropout: expected from 0 up to, not including, 1, received 1.0"),
        ("[lora]\ntargets = []", "targets: expected one layer name or more, received ()"),
        ("[lora]\ntargets = 'query'", "targets: expected a list of str, received 'query'"),
        ("[lora]\ntargets = ['valeu']", "no layer 'valeu' can be adapted; did you mean 'value'?"),
        ("[lora]\nlayout = 'pfet'", "layout: expected 'native' or 'peft', received 'pfet'"),
        ("[model]\nbackend = 'cuda'", "backend: expected 'jax' or 'tensorflow' or 'torch', received 'cuda'"),
        ("[train]\nlearning_rate = nan", "learning_rate: expected a finite number more than 0, received nan"),
        ("[train]\nlearning_rate = inf", "learning_rate: expected a finite number more than 0, received inf"),
        ("[train]\nweight_decay = -1.0", "weight_decay: expected a finite number, 0 or more, received -1.0"),
        ("[train]\nwarmup = 1.0", "warmup: expected from 0 up to, not including, 1, received 1.0"),
        ("[train]\nmax_length = 0", "max_length: expected 1 or more, received 0"),
        ("[train]\nseed = -1", "seed: expected a finite number, 0 or more, received -1"),
        ("[score]\nmode = 'foo'", "mode: expected 'likelihood' or 'generate', received 'foo'"),
        ("[score]\nscore_batch_size = 0", "score_batch_size: expected 1 or more, received 0"),
        ("task = ", "not valid TOML: "),
        ("x = " + "[" * 3000, "not valid TOML: maximum recursion depth"),
    ],
)
def test_refused_in_one_line_with_the_place(tmp_path, toml, said):
    path = tmp_path / "c.toml"
    path.write_text(toml)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path):
    (tmp_path / "cp949.toml").write_bytes("task = '가'".encode("cp949"))
    for name, said in (("no.toml", "No such file"), ("", "Is a directory"), ("cp949.toml", "not valid TOML")):
        with pytest.raises(ConfigError, match=said):
            read_config(tmp_path / name)


def test_unknown_names_of_options_have_their_near_ones():
    with pytest.raises(ConfigError, match="unknown option 'epoch'; did you mean 'epochs'"):
        RunConfig().with_options({"epoch": 2})
    with pytest.raises(ConfigError, match="unknown option 'lora'"):
        RunConfig().with_options({"lora": LoraSpec()})


def test_scale():
    assert (LoraSpec(rank=4).scale, LoraSpec(rank=4, alpha=8).scale) == (1.0, 2.0)
