"""A model's name -> files on disk that both stacks can load."""

from kerastune.models.files import ModelFiles
from kerastune.models.resolve import resolve_model

__all__ = ["ModelFiles", "resolve_model"]
