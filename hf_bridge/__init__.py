"""The Hugging Face stack: transformers and PEFT behind kerastune's `Stack` protocol."""

from hf_bridge.model import HfStack

__all__ = ["HfStack"]
