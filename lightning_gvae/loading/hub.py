"""Models from the Hugging Face Hub."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_gvae.errors import CheckpointError, ConfigError, GvaeError
from lightning_gvae.io.version import PACKAGE
from lightning_gvae.loading.folder import CONFIG, VOCABULARY, WEIGHTS

__all__ = ["fetch_from_hub", "hub_errors"]

LONGEST = 200


def fetch_from_hub(name: str, revision: str | None = None, **options: Any) -> Path:
    """Folder of a model, downloaded, or from the cache of an earlier download.

    Args:
        name: ``<user>/<name>``.
        revision: Branch, tag or commit; None is the latest.
        options: Further arguments of ``huggingface_hub.snapshot_download``, such as ``token``.

    Raises:
        CheckpointError: There is no such model, or it cannot be reached.
        ConfigError: The extra ``hub`` is not installed.
    """
    with hub_errors(
        f"there is no file or folder {name!r} here, and as a model of the Hugging Face Hub it cannot be fetched",
        "check the spelling and the connection, or give the path of a file or folder",
    ):
        from huggingface_hub import snapshot_download

        wanted = [CONFIG, WEIGHTS, VOCABULARY]
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted, library_name=PACKAGE, **options))


@contextmanager
def hub_errors(what: str, advice: str) -> Iterator[None]:
    """Says in one paragraph what failed at the Hub.

    Args:
        what: Beginning of the message.
        advice: What to do, without a point.

    Raises:
        CheckpointError: The Hub, or the way to it, has refused.
        ConfigError: The extra ``hub`` is not installed.
    """
    refusals: tuple[type[BaseException], ...] = (OSError, ValueError)
    try:
        from huggingface_hub.errors import HfHubHTTPError

        refusals += HfHubHTTPError.__bases__  # the first one is that of all errors of its HTTP library
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{what}: huggingface_hub is not installed. Install it with pip install 'lightning-gvae[hub]', or {advice}."
        ) from error
    try:
        yield
    except GvaeError:
        raise
    except refusals as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"{what} ({said[:LONGEST]}{'...' * (len(said) > LONGEST)}); {advice}.") from error
