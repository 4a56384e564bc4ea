"""What stops a stack from starting, in words for the person at the terminal."""


class StackError(Exception):
    """The stack cannot start or go on; the message is one clear sentence that says what to do.

    `log_tail` holds the last lines of the log that tells more, where there is one.
    """

    def __init__(self, sentence: str, log_tail: str = "") -> None:
        super().__init__(sentence)
        self.log_tail = log_tail
