"""What may watch or steer a training run, at three moments."""

from typing import Any, ClassVar

from torch import nn

from lablib.data.batch import Batch


class Hook:
    """Does nothing; subclasses override the moments they need. `row` is the step's line in the training table.

    Hooks are called in the order in which they were given, so a later one has the last word. The attributes that a hook
    changes during training are `kept` with the checkpoint, so that a resumed run is the uninterrupted one.
    """

    kept: ClassVar[tuple[str, ...]] = ()  # names of attributes that JSON can hold

    def before_step(self, step: int, model: nn.Module) -> None:
        """Before the batch is drawn, such as to change the window or the mixture."""

    def after_backward(self, step: int, model: nn.Module, batch: Batch, logits: Any, row: dict[str, Any]) -> None:
        """Gradients are there and not yet clipped: add columns to `row`. Called on logged steps only."""

    def at_eval(self, step: int, model: nn.Module, row: dict[str, Any]) -> None:
        """After a logged step's update: measure, and add columns to `row`."""
