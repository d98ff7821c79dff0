"""The best weights of one model, in memory, where a run has checkpoints of other models too.

One callback may train several models, as in a cross-validation. The best checkpoint of its run may then be another
model's, and the rules of the run may keep none of this one.
"""

from __future__ import annotations

import weakref

import tf_keras as tfk

from keras_probckpt.manager.checkpoint_manager import CheckpointManager
from keras_probckpt.manager.live_state import ModelValues
from keras_probckpt.policy.objective import best_of, is_improvement, score_of
from keras_probckpt.policy.selection import Candidate
from keras_probckpt.records import Objective

__all__ = ["OwnBest"]


class OwnBest:
    """Puts the best weights of a model back into it, and never those of another model.

    The first model's are read from its checkpoints. Of a later one the best are kept, by reference, until its training
    is over.

    Args:
        objective: What "best" means.
        threshold: A score that the best must improve on.
    """

    def __init__(self, objective: Objective, *, threshold: float | None) -> None:
        self._objective = objective
        self._threshold = threshold
        self._model: weakref.ref[tfk.Model] | None = None
        self._is_later_model = False
        self._best: tuple[Candidate, ModelValues] | None = None

    def begin(self, model: tfk.Model) -> None:
        """Begin a training."""
        if self._model is not None and self._model() is not model:
            self._is_later_model = True
            self._best = None
        self._model = weakref.ref(model)

    def offer(self, candidate: Candidate, values: ModelValues) -> None:
        """Keep the weights at a moment that is saved, or would be if the run had no better, where they are the best."""
        score = score_of(candidate, self._objective) if self._is_later_model else None
        if score is None or not is_improvement(score, best=self._threshold, objective=self._objective):
            return
        rivals = [candidate] if self._best is None else [self._best[0], candidate]
        if best_of(rivals, self._objective) is candidate:
            self._best = candidate, values

    def put_back(self, manager: CheckpointManager) -> None:
        """Put the best weights back into the model, if it has any, and let go of them."""
        best, self._best = self._best, None
        if not self._is_later_model:
            if manager.best is not None:
                manager.restore_best(is_weights_only=True)
        elif best is not None:
            manager.put_back_values(best[1])
