"""The engine below the callback and below training loops of one's own: orchestration only.

- `checkpoint_manager`: takes checkpoints, commits them, keeps those that the rules want.
- `live_state`: the state of a live model as the contents of a checkpoint, and back.

2026-11-23: a package where the design has a module, because what is saved of a model changes for other reasons than
which checkpoints there are.
"""

from keras_probckpt.manager.checkpoint_manager import CheckpointManager

__all__ = ["CheckpointManager"]
