"""Downloads that end in whole files or in an error that says what to do by hand."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from lightning_gvae.errors import DataError

__all__ = ["download", "fetch_whole"]


def download(fetch: Callable[[], object], what: str, files: Sequence[str], place: Path) -> None:
    """Call ``fetch``; an error of it, whatever it is, becomes one that says how to do without the download.

    Args:
        fetch: Downloads the files, for example :func:`fetch_whole` around one of torchvision's data sets.
        what: Name of the data set, for the message.
        files: Names, or addresses, of the files to fetch by hand.
        place: Folder to put them into.

    Raises:
        DataError: ``fetch`` raised an exception; the message carries its reason.
    """
    try:
        fetch()
    # All of them on purpose: hosts fail in urllib's, http.client's, socket's and torchvision's types of error, and
    # gdown, which may not even be installed here, has its own. The remedy is the same, and the cause stays attached.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{what} could not be downloaded: {reason.rstrip('.')}; fetch {', '.join(files)} by hand, put"
            f" {'it' if len(files) == 1 else 'them'} into {place} and start again"
        ) from error


def fetch_whole(fetch: Callable[[Path], object], place: Path) -> None:
    """Let ``fetch`` fill an empty folder, and move the files it made to ``place`` once it has returned.

    torchvision writes and unpacks in place: a download that breaks off, or whose MD5 sum is wrong, leaves files that
    the next start would take for the data set. Here none is seen before all are whole, and two nodes that download
    into one shared folder do not write to the same file.

    Args:
        fetch: Called with the empty folder, which lies in ``place`` and is gone afterwards.
        place: Where the files go, at the same relative paths; files of the same name are replaced.

    Raises:
        OSError: ``place`` cannot be written to. What ``fetch`` raises passes through.
    """
    place.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".download-", dir=place) as name:
        folder = Path(name)
        fetch(folder)
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            target = place / file.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
