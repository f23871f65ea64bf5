r"""Chat templates by name, for models whose tokenizer has none of its own.

Written from the vendors' descriptions of their formats. `{{ bos_token }}` is in none of them: the encoder
puts the one BOS in front.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class NamedTemplate:
    """A chat template by name.

    Args:
        source: The Jinja template.
        needs: Tokens without which a model cannot follow it.
    """

    source: str
    needs: tuple[str, ...] = ()


# Gemma has no system role: Google puts such a message in front of the user's first, a blank line between.
_GEMMA = """\
{%- set ns = namespace(before='') -%}
{%- for message in messages -%}
{%- if message.role == 'system' -%}
{%- set ns.before = message.content + '\\n\\n' -%}
{%- else -%}
{{- '<start_of_turn>' + ('model' if message.role == 'assistant' else 'user') + '\\n' -}}
{{- ns.before + message.content | trim + '<end_of_turn>\\n' -}}
{%- set ns.before = '' -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}
"""

_LLAMA3 = """\
{%- for message in messages -%}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' -}}
{{- message.content | trim + '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}{%- endif -%}
"""

_CHATML = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""

# Zephyr's roles are plain text, so any model with an end token can follow it.
_ZEPHYR = """\
{%- for message in messages -%}
{{- '<|' + message.role + '|>\\n' + message.content + eos_token + '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>\\n' -}}{%- endif -%}
"""

#: In the order in which one is chosen for a model that has none: the first whose tokens the model knows.
NAMED_TEMPLATES: Mapping[str, NamedTemplate] = {
    "gemma": NamedTemplate(_GEMMA, ("<start_of_turn>", "<end_of_turn>")),
    "llama3": NamedTemplate(_LLAMA3, ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")),
    "chatml": NamedTemplate(_CHATML, ("<|im_start|>", "<|im_end|>")),
    "zephyr": NamedTemplate(_ZEPHYR),
    "tinyllama": NamedTemplate(_ZEPHYR),
}
