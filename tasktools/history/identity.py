"""The identity of this process, for the ledger and for recordings."""

from __future__ import annotations

import getpass
import os
import socket


def who() -> str:
    """Return the user, the host and the process id, as one text."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container without an entry for its user
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} pid {os.getpid()}"
