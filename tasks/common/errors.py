"""The one exception a user is meant to read: what was wrong, where, and what to do next."""


class UserError(Exception):
    """A mistake in the input, not in the code. The command line prints it as one line and exits with status 2.

    Args:
        where: file, key or corpus the mistake is in.
        what: the value found and the rule it breaks.
        todo: what to type or change next.
    """

    def __init__(self, where: str, what: str, todo: str) -> None:
        self.where, self.what, self.todo = where, what, todo
        super().__init__(f"{where}: {what}. {todo}")

    def __reduce__(self) -> tuple[type["UserError"], tuple[str, str, str]]:
        # Worker processes send exceptions back pickled; the default would call __init__ with the joined message.
        return (UserError, (self.where, self.what, self.todo))
