"""Locks on open files, which the system releases when a process dies."""

import errno
import os
from typing import BinaryIO

# What the system says where somebody else has the lock; all else says that there are no locks.
TAKEN = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES)

if os.name == "nt":
    import msvcrt

    def ask_for(file: BinaryIO) -> None:
        """Lock the first byte of a file, or raise OSError."""
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def ask_for(file: BinaryIO) -> None:
        """Lock a file, or raise OSError."""
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock_file(file: BinaryIO) -> bool:
    """Lock a file for as long as it stays open; False if it is already locked, OSError if
    it cannot be locked at all, as on some network drives.
    """
    try:
        ask_for(file)
    except OSError as error:
        if error.errno in TAKEN:
            return False
        raise
    return True
