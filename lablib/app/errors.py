"""What a person asked for cannot be done: one line that says what came, what was expected and what to do."""


class BadInput(ValueError):
    """Shown as one line, without a traceback, with exit code 2; nothing has been written when it is raised."""
