"""The folder through which an executor's tasks and the keeper of its model server meet."""

import hashlib
import json
import os
import secrets
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from chains.errors import ModelLoadError
from chains.models.sidecar.settings import SidecarSettings

LOG_BYTES = 64 << 20
_LINES_OF_LOG = 20


class Plan(BaseModel):
    """Which server, and for whom.

    `owner` is the pid of the process with which the server ends; `gpus` are the addresses that it
    sees, none: whatever the environment shows; `model` is a folder, `digest` that of its weights.
    """

    model_config = ConfigDict(frozen=True)

    owner: int
    gpus: tuple[str, ...]
    model: str
    digest: str
    settings: SidecarSettings


class State(BaseModel):
    """What a keeper tells; memory in MB, as it was when the server became ready.

    `failed` says why there is no server and will be none.
    """

    port: int = 0
    pid: int | None = None
    ready: bool = False
    failed: str | None = None
    memory_mb: int | None = None
    gpu_memory_mb: int | None = None


@dataclass(frozen=True)
class ServerFolder:
    """The files of one server.

    `lock` is held by the keeper as long as it lives, however it dies. `use` is held, shared, by
    each task that asks the server, and by a keeper that ends because nobody does.
    """

    path: Path

    @classmethod
    def of(cls, plan: Plan) -> "ServerFolder":
        """Return the plan's folder, made where it is missing; only this user may look inside.

        Raises ModelLoadError where somebody else has made it.
        """
        root = Path(tempfile.gettempdir()) / f"gristmill-{os.getuid()}"
        root.mkdir(mode=0o700, exist_ok=True)
        found = root.lstat()
        mode = found.st_mode & ~stat.S_ISGID  # made below a folder that hands on its group
        if found.st_uid != os.getuid() or mode != stat.S_IFDIR | 0o700:
            raise ModelLoadError(
                f"expected {root} to be a folder of this user that nobody else may enter, found "
                f"{stat.filemode(found.st_mode)} of user {found.st_uid}; remove it, or set TMPDIR"
            )
        identity = hashlib.sha256(plan.model_dump_json().encode()).hexdigest()
        folder = cls(root / "sidecars" / str(plan.owner) / identity[:16])
        folder.path.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def lock(self) -> Path:
        """Locked while there is a keeper."""
        return self.path / "lock"

    @property
    def use(self) -> Path:
        """Locked while the server is asked; its time is that of the last use."""
        return self.path / "use"

    @property
    def token_file(self) -> Path:
        """The file with the server's token."""
        return self.path / "token"

    def token(self) -> str:
        """Return the server's token."""
        return self.token_file.read_text("ascii")

    @property
    def log(self) -> Path:
        """What keeper and server print."""
        return self.path / "server.log"

    def prepare(self, plan: Plan) -> None:
        """Leave plan and token for a keeper; the token stays that of this folder."""
        (self.path / "plan.json").write_text(plan.model_dump_json(), "utf-8")
        if not self.token_file.exists():
            self.token_file.write_text(secrets.token_urlsafe(32), "ascii")
        self.tell(State())

    def plan(self) -> Plan:
        """Return the plan."""
        return Plan.model_validate_json((self.path / "plan.json").read_text("utf-8"))

    def tell(self, state: State) -> None:
        """Replace the state, in one step."""
        told = self.path / "state.partial"
        told.write_text(state.model_dump_json(), "utf-8")
        told.rename(self.path / "state.json")

    def state(self) -> State:
        """Return what the keeper told last."""
        try:
            return State.model_validate(json.loads((self.path / "state.json").read_text("utf-8")))
        except FileNotFoundError:
            return State()

    def end_of_log(self) -> str:
        """Return the last lines of the log, and where it is."""
        lines = self.log.read_text("utf-8", "replace").splitlines()[-_LINES_OF_LOG:]
        return "\n".join([f"the end of its log {self.log}:", *lines])

    def trim_log(self) -> None:
        """Empty a log of more than LOG_BYTES: servers write a line for each request."""
        if self.log.stat().st_size > LOG_BYTES:
            os.truncate(self.log, 0)
