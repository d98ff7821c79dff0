"""What the checkpoints of a run are called, and what their manifests say."""

from __future__ import annotations

import datetime as dt
import logging
import pathlib
from collections.abc import Mapping
from typing import Any

from keras_probckpt.format import strict_json
from keras_probckpt.policy.naming import format_name, next_run_number, step_name
from keras_probckpt.policy.selection import Candidate
from keras_probckpt.records import CheckpointInfo, Manifest, Objective
from keras_probckpt.storage.listing import Listing
from keras_probckpt.training.versions import library_versions

__all__ = ["Labels"]

_logger = logging.getLogger("keras_probckpt")


class Labels:
    """Names and describes the checkpoints of one run.

    Args:
        run: Identifier of the run.
        template: What each checkpoint is called; `None` where we choose the names.
        objective: What "best" means to the run.
        is_weights_only: Whether optimizer and training state are left out.
        custom_metadata: Plain JSON values to write into each manifest.

    Raises:
        ValueError: If `custom_metadata` holds anything else.
    """

    def __init__(
        self,
        run: str,
        *,
        template: str | None,
        objective: Objective | None,
        is_weights_only: bool,
        custom_metadata: Mapping[str, Any] | None,
    ) -> None:
        self.run_number = 0
        """The run's number in its directory; 0 before it is settled."""
        self._run = run
        self._template = template
        self._objective = objective
        self._is_weights_only = is_weights_only
        self._custom_metadata = dict(custom_metadata or {})
        try:
            strict_json.dumps(self._custom_metadata)
        except (TypeError, ValueError) as error:
            raise ValueError(f"custom_metadata must be plain JSON values: {error}. Nothing was saved.") from error

    def settle_run_number(self, older: Listing, *, directory: pathlib.Path) -> None:
        """Number the run by what its directory holds before it begins, and say so if that is anything."""
        self.run_number = next_run_number(older.counted, others=older.uncounted)
        if older.checkpoints:
            rule = "" if self._template is None else f" Where a name is taken, -{self._run} is added to the new one."
            _logger.warning(
                "%s holds %d checkpoint(s) of earlier runs; this is run %s, beside them. "
                "None of theirs is removed or replaced.%s",
                directory,
                len(older.checkpoints),
                self._run,
                rule,
            )

    def adopt(self, info: CheckpointInfo) -> None:
        """Go on with the run of a checkpoint."""
        self._run, self.run_number = info.run, info.run_number

    def name_of(self, candidate: Candidate) -> str:
        """Name a checkpoint.

        Raises:
            KeyError: If the template asks for a metric that there is not.
            ValueError: If the template is malformed, or gives what cannot be a name.
        """
        if self._template is None:
            return step_name(candidate.step, run=self._run, run_number=self.run_number)
        return format_name(
            self._template, epoch=candidate.epoch, batch=candidate.batch, step=candidate.step, logs=candidate.logs
        )

    def manifest_of(self, candidate: Candidate) -> Manifest:
        """Describe a checkpoint of now, its files still to be filled in."""
        return Manifest(
            run=self._run,
            run_number=self.run_number,
            step=candidate.step,
            epoch=candidate.epoch,
            batch=candidate.batch,
            logs=candidate.logs,
            objective=self._objective,
            is_weights_only=self._is_weights_only,
            created_at=dt.datetime.now(dt.timezone.utc).isoformat(),
            versions=library_versions(),
            custom_metadata=self._custom_metadata,
            files={},
        )
