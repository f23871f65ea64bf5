"""A session for pairs of answers: the encoder of dialogues, the filters, and the reference."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kerastune.adapter_chain import continued
from kerastune.chat.encoders import make_dialogue_encoder
from kerastune.config import RunConfig
from kerastune.errors import ConfigError
from kerastune.models import resolve_model
from kerastune.objective import Objective
from kerastune.preference.encoding import encode_pair
from kerastune.preference.pairs import EncodedPair
from kerastune.preference.reading import PairReport, PairRows
from kerastune.preference.reference import ReferenceCache, first_epoch, with_reference
from kerastune.preference.scoring import LogProbabilities, answer_log_probabilities, by_length
from kerastune.preference.task import PREFERENCE, Pair
from kerastune.session import Prepared
from kerastune.text_session import TextSession, encode_rows


class PreferenceSession(TextSession):
    """A session for pairs of answers.

    The reference is the model without the adapter that is trained: the base, with the adapters of the run
    that training goes on from.
    """

    def report(self, rows: Any, others: Any = None) -> Any:
        """Count what is in tables of pairs."""
        return PairReport(tables={"train": rows} | ({} if others is None else {"validation": others}))

    def prepare(self, rows: Any, validation: Any = None) -> Prepared:
        """Filter and encode pairs; see `ModelSession.prepare`.

        Raises:
            ConfigError: An option is for other tasks.
            DataError: A pair cannot be used, and such rows are not to be left out.
        """
        self._refuse_other_options()
        spec = self.config.preference
        kept = rows.at_least(spec.min_chosen_score)
        pairs, left = self.encode(kept)
        watched: Sequence[EncodedPair] = ()
        left = [*rows.left, *left]
        if validation is not None:
            watched, watched_left = self.encode(validation)
            left += [*validation.left, *watched_left]
        reference = "the base" if not self.beneath else f"the base with {self.beneath[-1].run}"
        notes = [
            f"pairs     {spec.method}, beta {spec.beta:g}"
            + (f", reference {reference}" if spec.loss.has_reference else ", on " + reference)
        ]
        if spec.min_chosen_score is not None:
            notes.append(
                f"filter    {len(kept)} pairs kept, {len(rows) - len(kept)} dropped, whose chosen score is "
                f"under {spec.min_chosen_score:g}"
            )
        return Prepared(
            examples=tuple(pairs),
            validation=tuple(watched),
            objective=Objective("assistant", preference=spec.loss),
            pad_id=self.encoder.tokenizer.pad_id,
            truncated=sum(pair.chosen.characters_lost > 0 for pair in pairs),
            template=self.encoder.name,
            words=(),
            source={"source": rows.name, "sha256": rows.sha256, "rows": len(pairs)},
            left=tuple(left),
            notes=tuple(notes),
        )

    def complete(self, prepared: Prepared, *, show: bool = True) -> Prepared:
        """Give the pairs their log-probabilities under the reference; see `ModelSession.complete`."""
        if not self.config.preference.loss.has_reference:
            return prepared
        pairs = [example for example in prepared.examples if isinstance(example, EncodedPair)]
        watched = [example for example in prepared.validation if isinstance(example, EncodedPair)]
        train, pad_id = self.config.train, prepared.pad_id
        found = self._reference(pairs, first_epoch(pairs, train, pad_id), show)
        watched_found: LogProbabilities = {}
        if watched:
            batches = by_length(watched, train.batch_size, pad_id)
            watched_found = self._reference(watched, batches, show)
        return replace(
            prepared,
            examples=with_reference(pairs, found),
            validation=with_reference(watched, watched_found),
        )

    def encode(self, rows: PairRows) -> tuple[list[EncodedPair], list[str]]:
        """Encode pairs: those that can be, and a message for each that was left out.

        Raises:
            DataError: A pair cannot be used, and such rows are not to be left out.
        """

        def encode(pair: Pair, name: str) -> EncodedPair:
            return encode_pair(self.encoder, pair, name)

        encoded, left = encode_rows(rows, encode)
        return list(encoded.values()), left

    @property
    def reference_cache(self) -> ReferenceCache:
        """Where reference log-probabilities are kept.

        In float32 both stacks have the same; in other dtypes they are of a stack, and of what shares a batch.
        """
        info, train = self.stack.info, self.config.train
        rounding: tuple[Any, ...] = (info.dtype,)
        if info.dtype != "float32":
            rounding = (info.dtype, info.stack, info.backend, train.batch_size, train.accumulate, train.seed)
        hashes = (self.files.fingerprint, *(link.sha256 for link in self.beneath))
        return ReferenceCache(self.files.cache_dir / "reference", (hashes, rounding))

    def _reference(self, pairs: Sequence[EncodedPair], batches: Any, show: bool) -> LogProbabilities:
        cache = self.reference_cache
        found: LogProbabilities | None = cache.read(pairs)
        if found is None:
            self.stack.remove_adapter()
            found = answer_log_probabilities(self.stack, batches, "reference", show=show)
            cache.write(pairs, found)
            self.stack.add_lora(self.config.lora, self.config.train.seed)
        return found

    def _refuse_other_options(self) -> None:
        train = self.config.train
        if train.shots:
            raise ConfigError("shots: expected 0 for pairs, which have no labels to show")
        if self.config.verbalizer is not None:
            raise ConfigError("verbalizer: expected none for pairs, which have no labels to say")
        if train.loss_on not in (None, "assistant"):
            raise ConfigError(f"loss_on: expected 'assistant' for pairs, received {train.loss_on!r}")


def open_preference_session(config: RunConfig) -> PreferenceSession:
    """Find the base model of a configuration for pairs, and make its encoder.

    Raises:
        ConfigError: The run to go on from is none.
        ModelError: The model is not found.
        TemplateError: There is no such template.
    """
    config = continued(config)
    files = resolve_model(config.model.model)
    encoder = make_dialogue_encoder(
        files,
        template=config.template,
        max_length=config.train.max_length or PREFERENCE.max_length,
        last_turn_alone=True,
    )
    return PreferenceSession(config, files, encoder)
