"""What a configuration takes over from the run that it goes on from; no model is loaded."""

import pytest

from kerastune.adapter_card import ADAPTER
from kerastune.adapter_chain import continued
from kerastune.config import RunConfig
from kerastune.config_file import write_config
from kerastune.errors import ConfigError


@pytest.fixture
def run(tmp_path):
    """A run's folder, trained on a base in NF4."""
    (tmp_path / ADAPTER).mkdir()
    options = {"model": "owner/name", "stack": "hf", "quantize": "nf4", "template": "chatml"}
    write_config(RunConfig().with_options(options), tmp_path / "config.toml")
    return tmp_path


def going_on(run, **options):
    return continued(RunConfig().with_options({"from_run": str(run), **options}))


def test_the_base_its_numbers_and_the_template_are_taken_over(run):
    config = going_on(run, stack="hf")
    assert (config.model.model, config.model.quantize, config.template) == ("owner/name", "nf4", "chatml")
    assert continued(config) == config


@pytest.mark.parametrize(("said", "kept"), [("int8", "int8"), ("none", None)])
def test_what_is_said_stays(run, said, kept):
    config = going_on(run, stack="hf", quantize=said, model="other/name", template="zephyr")
    assert (config.model.model, config.model.quantized, config.template) == ("other/name", kept, "zephyr")
    assert continued(config) == config  # read again from its folder it is the same


def test_numbers_that_the_stack_does_not_have_are_not_replaced_in_silence(run):
    message = "base is in nf4, which the keras stack does not have; go on with --stack hf, or say --quantize"
    with pytest.raises(ConfigError, match=message):
        going_on(run, stack="keras")
    assert going_on(run, stack="keras", quantize="int4").model.quantized == "int4"
    assert going_on(run, stack="keras", quantize="none").model.quantized is None


def test_a_run_in_the_dtype_leaves_the_base_there(run):
    write_config(RunConfig(), run / "config.toml")
    assert going_on(run).model == RunConfig().model
