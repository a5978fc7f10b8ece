"""What an error of the system means to a recipe."""

from __future__ import annotations

import errno
import os

from reconcile.core.errors import ConnectionLost
from reconcile.remotes.tree.verbs import Code, Status

_CODES = {
    errno.ENOENT: Code.MISSING,
    errno.ENOTDIR: Code.MISSING,
    errno.ELOOP: Code.MISSING,  # a link where a directory should be: what is behind it is not meant
    errno.EACCES: Code.DENIED,
    errno.EPERM: Code.DENIED,
    errno.EINVAL: Code.INVALID,
    errno.EILSEQ: Code.INVALID,
    errno.ENAMETOOLONG: Code.INVALID,
    errno.ENOSYS: Code.UNSUPPORTED,
    errno.EOPNOTSUPP: Code.UNSUPPORTED,
    errno.ENOTTY: Code.UNSUPPORTED,
    errno.EEXIST: Code.EXISTS,
    errno.ENOTEMPTY: Code.NOT_EMPTY,
    errno.EXDEV: Code.OTHER_DISK,
    errno.ENOSPC: Code.NO_SPACE,
    errno.EDQUOT: Code.QUOTA,
    errno.EROFS: Code.READ_ONLY,
    errno.EISDIR: Code.IS_DIRECTORY,
}
_GONE = {errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN, errno.ESHUTDOWN}  # with its disk, or server


def status_of(error: OSError) -> Status:
    """How the verb ended. Raises ConnectionLost where there is no disk any more."""
    if error.errno in _GONE:
        raise ConnectionLost(f"the disk of DEST is gone: {os.strerror(error.errno)}") from error
    number = error.errno or 0
    return Status(_CODES.get(number, Code.FAILED), os.strerror(number))
