"""The monitor as a callback of Lightning and of Hugging Face's ``Trainer``.

Both trainers want subclasses of their own base class. These are the hooks without the
base class, so that neither package has to be there; name both and the callback is
complete::

    from lightning.pytorch import Callback, Trainer
    from nwslib.monitor import LightningHooks

    class Monitor(LightningHooks, Callback):
        pass

    Trainer(callbacks=[Monitor(every=100, log="run.jsonl")])

and ::

    from transformers import Trainer, TrainerCallback
    from nwslib.monitor import TransformersHooks

    class Monitor(TransformersHooks, TrainerCallback):
        pass

    Trainer(..., callbacks=[Monitor(every=100, log="run.jsonl")])

Arguments are those of :class:`~nwslib.monitor.TrajectoryMonitor` after the net. The
monitor, in the attribute ``monitor`` from the start of the training on, counts
optimizer steps, lives in the main process only, is saved with every checkpoint and
goes on when the training does.
"""

from __future__ import annotations

import io
from pathlib import Path

import torch

from nwslib import _files
from nwslib.monitor.live import TrajectoryMonitor

#: Beside the other files of a Hugging Face checkpoint.
_STATE_FILE = "trajectory_monitor.pt"


class LightningHooks:
    """Hooks of ``lightning.pytorch.Callback``; tried with Lightning 2.6."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.monitor: TrajectoryMonitor | None = None
        self._options = options
        self._saved: dict | None = None
        self._seen = 0  # optimizer steps

    def on_train_start(self, trainer, pl_module) -> None:
        """Begin, or go on where the checkpoint was saved."""
        self._seen = trainer.global_step
        if not trainer.is_global_zero:
            return
        self.monitor = TrajectoryMonitor(pl_module, **self._options)
        if self._saved:
            self.monitor.load_state_dict(self._saved)
            self._saved = None

    def on_train_batch_end(self, trainer, *_: object, **__: object) -> None:
        """Count; with accumulated gradients not every batch is a step."""
        if self.monitor and trainer.global_step > self._seen:
            self._seen = trainer.global_step
            self.monitor.step()

    def state_dict(self) -> dict:
        """What Lightning puts into its checkpoint."""
        return self.monitor.state_dict() if self.monitor else self._saved or {}

    def load_state_dict(self, state_dict: dict) -> None:
        """Kept until the training starts, which is when there is a net."""
        self._saved = state_dict


class TransformersHooks:
    """Hooks of ``transformers.TrainerCallback``; tried with transformers 5.23."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.monitor: TrajectoryMonitor | None = None
        self._options = options

    def on_train_begin(self, args, state, control, model=None, **_: object) -> None:
        """Begin, or go on where the checkpoint was saved."""
        if not state.is_world_process_zero:
            return
        self.monitor = TrajectoryMonitor(model, **self._options)
        saved = _checkpoint(args, state) / _STATE_FILE
        if state.global_step and saved.is_file():
            self.monitor.load_state_dict(_files.load_torch(saved))

    def on_step_end(self, args, state, control, **_: object) -> None:
        """Count an optimizer step."""
        if self.monitor:
            self.monitor.step()

    def on_save(self, args, state, control, **_: object) -> None:
        """Add a file to the checkpoint that was just written."""
        folder = _checkpoint(args, state)
        if self.monitor and folder.is_dir():
            buffer = io.BytesIO()
            torch.save(self.monitor.state_dict(), buffer)
            _files.put(folder / _STATE_FILE, buffer.getvalue())


def _checkpoint(args, state) -> Path:
    """Folder of the checkpoint of the present step."""
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"
