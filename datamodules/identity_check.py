"""Keeps a run on the data that it began with, and a test part free of what was trained on."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lightning_gvae.datamodules.identity import KEY, Comparison, DataRecord, Items, stored_record
from lightning_gvae.datamodules.parts import Rule
from lightning_gvae.errors import CheckpointError, ConfigError, say

__all__ = ["IF_CHANGED", "IdentityCheck"]

IF_CHANGED = ("refuse", "accept")
ADJECTIVE = {"train": "training", "val": "validation", "test": "test"}


class IdentityCheck:
    """Compares the parts of a data module with those that a checkpoint was trained on.

    A run that goes on must have the same items in the same parts. A model is evaluated if the test part is the one that
    it had, or if the data are other data and nothing of their test part has been trained on. All else is refused, or,
    with ``if_changed="accept"``, gone on with; either way the message counts the test items that had been trained on.

    Args:
        name: Of the data set.
        unit: One item, for messages.
        if_changed: ``"refuse"`` or ``"accept"``.
        repeats: Whether different sets have some items in common by nature, as corpora have short sentences; then the
            test part of other data is refused only if more than half of it had been trained on.

    Raises:
        ConfigError: ``if_changed`` is another word.
    """

    def __init__(self, name: str, unit: str = "image", if_changed: str = "refuse", repeats: bool = False) -> None:
        if if_changed not in IF_CHANGED:
            raise ConfigError(f"`if_changed` must be one of {', '.join(IF_CHANGED)}, got {if_changed!r}")
        self.name, self.unit, self.if_changed, self.repeats = name, unit, if_changed, repeats
        self.accepted = False  # whether the run goes on with changed data
        self._before: DataRecord | None = None

    def state(self, parts: Mapping[str, Items], rule: Rule) -> dict[str, Any]:
        """The record of the data for a checkpoint, as plain containers and tensors."""
        return {KEY: DataRecord.of(self.name, parts, rule, self._before).state()}

    def repeated(self, parts: Mapping[str, Items]) -> None:
        """Say how many items of the validation and test parts are in the training part too, under another name."""
        for part in ("val", "test"):
            count = int(np.isin(parts[part].contents, parts["train"].contents).sum())
            if count:
                self._say(
                    f"{count} of the {len(parts[part].contents)} {ADJECTIVE[part]} {self.unit}s are byte for "
                    "byte the same"
                    f" as training {self.unit}s"
                )

    def resume(self, state: Mapping[str, Any], parts: Mapping[str, Items], rule: Rule) -> None:
        """Compare with the state of the run that is gone on with; a state without a record is not compared.

        Raises:
            CheckpointError: The data have changed, and that is not accepted.
        """
        if KEY not in state:
            return
        record = DataRecord.from_state(state[KEY])
        found = record.compare(parts)
        self._before = record
        if not found.changed:
            return
        self._refuse_or_say(
            f"{self._changes(record, found, rule)} {self._trained_on(found.trained_on, parts, found.estimated)}"
        )
        self.accepted = True
        self._before = replace(record, leaked=found.trained_on)

    def evaluate(self, checkpoint: Mapping[str, Any], parts: Mapping[str, Items], rule: Rule) -> None:
        """Compare with a checkpoint whose model is to be evaluated.

        Raises:
            CheckpointError: The test part is another one, or holds what was trained on, and that is not accepted.
        """
        record = stored_record(checkpoint)
        if record is None:
            self._say(
                f"the checkpoint does not say which {self.unit}s it was trained on; test {self.unit}s may be among them"
            )
            return
        found = record.compare(parts)
        if "test" not in found.changed:
            if record.leaked.get("test"):
                self._refuse_or_say(
                    f"the data had changed between the parts of the training."
                    f" {self._trained_on(record.leaked, parts, found.estimated)}",
                    "Take other data,",
                )
            return
        counted = self._trained_on(found.trained_on, parts, found.estimated)
        tolerated = len(parts["test"].contents) // 2 if self.repeats and "test" in parts else 0
        if not found.same_data and found.trained_on.get("test", 0) <= tolerated:
            self._say(f"these are other data than the model was trained on ({record.name}). {counted}")
        else:
            self._refuse_or_say(f"{self._changes(record, found, rule)} {counted}")

    def _refuse_or_say(
        self, text: str, advice: str = "Restore the data, with the seed and sizes that they had,"
    ) -> None:
        if self.if_changed == "refuse":
            raise CheckpointError(f"{text} {advice} or go on all the same with data.if_changed=accept.")
        self._say(f"{text} Gone on with, as data.if_changed=accept says.")

    def _say(self, text: str) -> None:
        say(f"{self.name}: {text}")

    def _changes(self, record: DataRecord, found: Comparison, rule: Rule) -> str:
        if rule.kind == record.rule.kind != "files" and rule.seed != record.rule.seed and not found.gone:
            return (
                f"the data were cut into parts by the seed {record.rule.seed}, here it is {rule.seed}, which gives"
                f" {self.unit}s other parts; go on with data.split_seed={record.rule.seed}."
            )
        if not found.same_data:
            return f"the data are not those that the checkpoint was trained on ({record.name})."
        about = "about " if found.estimated else ""
        how = f"{about}{found.added} to train on are new, {about}{found.gone} trained on are gone"
        return (
            f"the data have changed since the checkpoint was written: the {self.unit}s of "
            f"{', '.join(found.changed)} are not"
            f" those that they were ({how if found.added or found.gone else 'or their names are not'})."
        )

    def _trained_on(self, counts: Mapping[str, int], parts: Mapping[str, Items], estimated: bool) -> str:
        said = " and ".join(
            f"{'about ' if estimated else ''}{counts.get(part, 0):,} of the {len(parts[part].contents):,} "
            f"{ADJECTIVE[part]}"
            f" {self.unit}s"
            for part in ("test", "val")
            if part in parts
        )
        return f"{said} had been trained on."
