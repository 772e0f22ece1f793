"""What may watch or steer a training run, at three moments."""

from typing import Any, ClassVar

from torch import nn

from lablib.nn.surgery import plain_name


class Hook:
    """Does nothing; subclasses override the moments they need. `row` is the step's line in the training table.

    Hooks are called in the order in which they were given, so a later one has the last word. The attributes that a hook
    changes during training are `kept` with the checkpoint, so that a resumed run is the uninterrupted one. What a hook
    sets on the model or on what draws the batches is kept by `Settings`.
    """

    kept: ClassVar[tuple[str, ...]] = ()  # names of attributes that JSON can hold

    def before_step(self, step: int, model: nn.Module) -> None:
        """Before the batch is drawn, such as to change the window or the mixture."""

    def after_backward(self, step: int, model: nn.Module, batch: Any, logits: Any, row: dict[str, Any]) -> None:
        """Gradients are there and not yet clipped: add columns to `row`. Called on logged steps only."""

    def at_eval(self, step: int, model: nn.Module, row: dict[str, Any]) -> None:
        """After a logged step's update: measure, and add columns to `row`."""


class Settings:
    """The plain attributes of a model's modules and of what draws its batches: what a training may set beside weights.

    Such as the window, or the weights of kinds of rows. Plain are numbers, strings, None, and lists and tuples of them.
    """

    def __init__(self, model: nn.Module, draw: Any):
        modules = {plain_name(f"model.{name}".rstrip(".")): module for name, module in model.named_modules()}
        self.owners: dict[str, Any] = {"draw": draw} | modules
        self.before, self.restored = self._now(), False

    def _now(self) -> dict[tuple[str, str], Any]:
        return {
            (owner, name): list(value) if isinstance(value, list) else value
            for owner, thing in self.owners.items()
            for name, value in getattr(thing, "__dict__", {}).items()
            if not name.startswith("_") and _is_plain(value)
        }

    def changed(self) -> list[list[Any]]:
        """Owner, name and value of the attributes that are not what they were at the beginning."""
        same = lambda key, value: key in self.before and self.before[key] == value  # noqa: E731
        return [[*key, value] for key, value in self._now().items() if not same(key, value)]

    def restore(self, changed: list[list[Any]]) -> None:
        """Set what had been changed."""
        for owner, name, value in changed:
            thing = self.owners.get(owner)
            if isinstance(thing, nn.Module) or hasattr(thing, name):  # other rows may be drawn by something else
                set_kept(thing, name, value)
        self.restored = True


def set_kept(owner: Any, name: str, value: Any) -> None:
    """Set an attribute to a value that comes from JSON, which makes lists of tuples."""
    setattr(owner, name, tuple(value) if isinstance(getattr(owner, name, None), tuple) else value)


def _is_plain(value: Any) -> bool:
    parts = value if type(value) in (list, tuple) else (value,)
    return all(part is None or type(part) in (bool, int, float, str) for part in parts)
