"""The engine below the callback and below training loops of one's own: orchestration only.

- `checkpoint_manager`: takes checkpoints, commits them, keeps those that the rules want.
- `labels`: what checkpoints are called and what their manifests say.
- `live_state`: the state of a live model as the contents of a checkpoint, and back.
- `rebuilding`: from the files of a checkpoint to a working model.
- `rehearsal`: whether the first checkpoint can be restored, tried here or, by `second_process`, in a new process.
- `resumption`: the checkpoint that a training goes on from.
- `fit_state`, `fit_resume`: what a running `fit` knows besides its model, taken and put back.
- `save_errors`: errors of saving, raised in the thread that trains or warned of.
- `training_logs`: what `fit` logs, and what is said of it.

2026-11-23: a package where the design has a module, because what is saved of a model changes for other reasons than
which checkpoints there are.
"""

from keras_probckpt.manager.checkpoint_manager import CheckpointManager

__all__ = ["CheckpointManager"]
