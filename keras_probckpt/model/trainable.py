"""Which layers are trained: as the user set it, and as it was when the model was compiled.

tf_keras trains what was trainable at `compile`: in `fit` every layer has its flag of then, and gets the one that the
user set later back at the end. A checkpoint written in between records both.

Source: `RespectCompiledTrainableState` of tf_keras's `training_utils`.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import tf_keras as tfk
from tf_keras.src.engine import training_utils

__all__ = ["Flags", "note_scopes", "put_flags", "trainable_flags"]

# By the path of a layer: whether it was trainable at `compile`, and whether it is now.
Flags = Mapping[str, tuple[bool, bool]]

_SCOPES: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
_Scope: Any = training_utils.RespectCompiledTrainableState


def note_scopes() -> None:
    """Note from now on in which `fit`, `evaluate` or `predict` a model is, for the flags that it will have after it."""
    if getattr(_Scope, "_keras_probckpt_notes", False):
        return
    enter, leave = _Scope.__enter__, _Scope.__exit__

    def noting_enter(self: Any) -> Any:
        entered = enter(self)
        _SCOPES.setdefault(self._model, self)
        return entered

    def noting_leave(self: Any, *error: Any) -> Any:
        if _SCOPES.get(self._model, self) is self:
            _SCOPES.pop(self._model, None)
        return leave(self, *error)

    _Scope.__enter__, _Scope.__exit__ = noting_enter, noting_leave
    _Scope._keras_probckpt_notes = True


def trainable_flags(model: tfk.Model, layers: Mapping[str, tfk.layers.Layer]) -> Flags:
    """Find which layers are trainable; those that always were are left out.

    Args:
        model: The model.
        layers: The model and its layers, by path.
    """
    scope = _SCOPES.get(model)
    after = scope._current_trainable_state if scope is not None and scope._should_set_trainable else {}
    flags = {
        path: (
            bool(model._compiled_trainable_state.get(layer, layer._trainable)),
            bool(after.get(layer, layer._trainable)),
        )
        for path, layer in layers.items()
    }
    return {path: pair for path, pair in flags.items() if pair != (True, True)}


def put_flags(layers: Mapping[str, tfk.layers.Layer], flags: Flags, *, at_compile: bool) -> None:
    """Set which layers are trainable.

    Args:
        layers: The rebuilt model and its layers, by path.
        flags: What `trainable_flags` returned.
        at_compile: Set what was so at `compile`, and not what is so now.
    """
    for path, layer in layers.items():
        at_compile_flag, now = flags.get(path, (True, True))
        layer._trainable = at_compile_flag if at_compile else now
