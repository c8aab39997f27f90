"""The one exception a user is meant to read: what was wrong, where, and what to do next; and a full disk as one."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Libraries in C++ and Rust raise errors of their own; torch does not say more than that a write failed.
_FULL = re.compile(r"No space left on device|Disk quota exceeded|File too large|disk is full|PytorchStreamWriter failed|unexpected pos \d+ vs")


class UserError(Exception):
    """A mistake in the input, not in the code. The command line prints it as one line and exits with status 2.

    Args:
        where: file, key or corpus the mistake is in.
        what: the value found and the rule it breaks.
        todo: what to type or change next.
    """

    def __init__(self, where: str, what: str, todo: str) -> None:
        self.where, self.what, self.todo = where, what, todo
        super().__init__(_on_one_line(f"{where}: {what}. {todo}"))

    def __reduce__(self) -> tuple[type["UserError"], tuple[str, str, str]]:
        # Worker processes send exceptions back pickled; the default would call __init__ with the joined message.
        return (UserError, (self.where, self.what, self.todo))


def _on_one_line(message: str) -> str:
    """Names may hold line ends, terminal codes and bytes that are no text: they are shown escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in message)


@contextmanager
def full_disk_named() -> Iterator[None]:
    """Raises UserError for whatever exception of the block comes from a disk without space, also where a library wrapped it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if (found := full_disk(error)) is None:
            raise
        raise found from error


def full_disk(error: BaseException) -> UserError | None:
    """The mistake to report where `error`, or what it goes back to, is a disk without space."""
    cause: BaseException | None = error
    while cause is not None:
        number = getattr(cause, "errno", None)
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or _FULL.search(str(cause)):
            where = str(getattr(cause, "filename", None) or Path.cwd())
            return UserError(where, "No space left on device", "Free space and run the same command again: what is finished is kept")
        cause = cause.__cause__ or cause.__context__
    return None
