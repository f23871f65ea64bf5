"""Publishing a run: cards that say what it is, and its adapter's folder on the Hugging Face hub."""

from kerastune.publishing.cards import DATASET_CARD, MODEL_CARD, write_cards
from kerastune.publishing.push import Pushed, push

__all__ = ["DATASET_CARD", "MODEL_CARD", "Pushed", "push", "write_cards"]
