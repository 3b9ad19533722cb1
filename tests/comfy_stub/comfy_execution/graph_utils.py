"""Stand-in for the value that stops what depends on it."""


class ExecutionBlocker:
    def __init__(self, message: str | None) -> None:
        self.message = message
