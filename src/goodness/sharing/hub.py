"""The Hugging Face Hub, by its own client."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from goodness.errors import InputError, reason
from goodness.extras import needs
from goodness.sharing.folder import FILES, NEEDED

UNAUTHORIZED = 401


def client() -> ModuleType:
    """The package ``huggingface_hub``.

    Raises:
        InputError: it is not installed.
    """
    return needs("hub", "huggingface_hub")[0]


def download(repo: str, revision: str | None = None) -> Path:
    """The folder of a network on the Hub; what is in the Hub's cache already is taken from there.

    Nothing but the files of a shared network is downloaded.

    Args:
        repo: ``USER/NAME``.
        revision: a branch, tag or commit.

    Raises:
        InputError: it cannot be had, or is no network of goodness.
    """
    hub = client()
    try:
        folder = Path(hub.snapshot_download(repo, revision=revision, allow_patterns=list(FILES)))
    except Exception as error:  # of the network, the Hub, the cache or the disk
        raise _failed(f"'hf:{repo}' cannot be had", error) from None
    if missing := [name for name in NEEDED if not (folder / name).is_file()]:
        raise InputError(f"'hf:{repo}' is no network of goodness: it has no {missing[0]}")
    return folder


def upload(folder: Path, repo: str, private: bool = False) -> str:
    """Put a shared network's folder on the Hub, in a repository that is made if it is not there.

    Args:
        folder: what goes there.
        repo: ``USER/NAME``.
        private: whether a new repository is for its owner alone.

    Returns:
        Its address.

    Raises:
        InputError: the Hub cannot be reached, or refuses.
    """
    hub = client()
    try:
        api = hub.HfApi()
        url = api.create_repo(repo, private=private, exist_ok=True)
        message = "Upload a network trained by goodness"
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message)
    except Exception as error:  # as in `download`
        raise _failed(f"'{repo}' cannot be written on the Hub", error) from None
    return str(url)


def _failed(what: str, error: Exception) -> InputError:
    """What a failure of the Hub's client becomes."""
    from huggingface_hub import errors

    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    offline = errors.OfflineModeIsEnabled | errors.LocalEntryNotFoundError | errors.HTTPError
    if isinstance(error, offline) and status is None:
        return InputError(f"{what}: the Hub cannot be reached (offline, or HF_HUB_OFFLINE is set)")
    if isinstance(error, errors.GatedRepoError):
        return InputError(f"{what}: it is gated; ask for access on its page, and log in")
    if isinstance(error, errors.RepositoryNotFoundError):
        return InputError(f"{what}: there is no such repository, or it is private (hf auth login)")
    if status == UNAUTHORIZED or isinstance(error, errors.LocalTokenNotFoundError):
        return InputError(f"{what}: log in first, with 'hf auth login', or set HF_TOKEN")
    return InputError(f"{what}: {reason(error)}")
