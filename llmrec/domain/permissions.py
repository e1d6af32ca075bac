"""Who may write what a job leaves behind."""

import os


def keep_from_others() -> None:
    """Let no file be writable for all that this process, or one that it starts, makes from now on."""
    os.umask(os.umask(0o077) | 0o002)
