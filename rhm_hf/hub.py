"""Folders on their way to the Hugging Face Hub: what would be uploaded, and the upload in one commit."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


KINDS = ("model", "dataset", "space")


@dataclass(frozen=True)
class Upload:
    """A folder that is ready to be uploaded as it is.

    Args:
        folder (`Path`): all its files go to the root of the repository; those that begin with a dot stay behind.
        repo_id (`str`): `user/name`, or `name` for one's own.
        repo_type (`str`): `"model"`, `"dataset"` or `"space"`.
        space_sdk (`str`, *optional*): of a Space: `"gradio"` or `"static"`.

    Raises:
        `ValueError`: for an id that the Hub does not allow, another type, a folder that is not there or empty.
    """

    folder: Path
    repo_id: str
    repo_type: str = "model"
    space_sdk: str | None = None

    def __post_init__(self) -> None:
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id

        try:
            validate_repo_id(self.repo_id)
        except HFValidationError as error:
            raise ValueError(f"repo_id={self.repo_id!r} is no name of a repository: {error}") from None
        if self.repo_type not in KINDS:
            raise ValueError(f"repo_type={self.repo_type!r} must be one of {', '.join(KINDS)}")
        if not self.files():
            raise ValueError(f"folder={str(self.folder)!r} holds no file: there is nothing to upload")

    def files(self) -> list[tuple[str, int]]:
        """Names relative to the folder, and bytes."""
        folder = Path(self.folder)
        found = (path for path in sorted(folder.rglob("*")) if path.is_file())
        names = ((path.relative_to(folder), path.stat().st_size) for path in found)
        return [(name.as_posix(), size) for name, size in names if not any(part[0] == "." for part in name.parts)]

    def send(
        self,
        private: bool | None = None,
        token: str | None = None,
        commit_message: str | None = None,
        create_pr: bool = False,
    ) -> str:
        """Makes the repository where there is none, and uploads the files in one commit.

        Args:
            private (`bool`, *optional*): of a new repository; by default what the account says.
            token (`str`, *optional*): by default that of `hf auth login`.
            commit_message (`str`, *optional*): by default `Upload with rhm_hf`.
            create_pr (`bool`, *optional*, defaults to `False`): whether to open a pull request instead.

        Returns:
            `str`: the address of the commit.
        """
        from huggingface_hub import HfApi

        api = HfApi(token=token, library_name="rhm_hf")
        sdk: dict[str, Any] = {"space_sdk": self.space_sdk} if self.repo_type == "space" else {}
        made = api.create_repo(self.repo_id, repo_type=self.repo_type, private=private, exist_ok=True, **sdk)
        done = api.upload_folder(
            repo_id=made.repo_id,
            repo_type=self.repo_type,
            folder_path=self.folder,
            ignore_patterns=[".*", "*/.*"],
            commit_message=commit_message or "Upload with rhm_hf",
            create_pr=create_pr,
        )
        return str(done.pr_url or done.commit_url)
