"""What `/info` tells: the service, the model, and the pool's own facts, which are checked on their way out.

The OpenAPI document has these as they stand here.
"""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from model_loader.process import WorkerState


class ServiceFacts(BaseModel):
    """The server itself."""

    name: str
    version: str
    api_version: str
    uptime_seconds: float


class ClassFacts(BaseModel):
    """One of the classes of an export."""

    class_index: int
    name: str | None = Field(description="of its label")


class ExportFacts(BaseModel):
    """What a platform export says of the model."""

    version: int
    versions: list[int] = Field(description="all that the export holds")
    scope: str | None = Field(description="what the platform sends at a time: INSTANCE, SERIES, STUDY …")
    label_classes: list[ClassFacts] = Field(description="for requests that bring none")


class ModelFacts(BaseModel):
    """The package that is served."""

    name: str
    digest: str = Field(description="SHA-256 of the package's content")
    config: dict[str, Any] = Field(description="config.yaml; of `env` only the names")
    warnings: list[str]
    export: ExportFacts | None = Field(description="what a platform export says of the model; null for a plain package")


class EnvironmentFacts(BaseModel):
    """What the model runs in."""

    description: str
    python: str = Field(description="version of the interpreter")
    packages: dict[str, str] = Field(description="what is installed there, with versions")


class SpareFacts(BaseModel):
    """A worker that is loaded and takes no requests yet."""

    worker: int = Field(description="its number among all workers that were started")
    pid: int
    device: str


class SparesFacts(BaseModel):
    """Workers in reserve."""

    wanted: int
    loaded: list[SpareFacts]
    restarts_by_cause: dict[str, int]


class WorkerFacts(BaseModel):
    """The place of a worker, and the process that holds it: what is told of that is not there until it was started."""

    id: int = Field(description="of the place, from 0: it stays when the process is another")
    state: WorkerState
    restarts: int
    restarts_by_cause: dict[str, int]
    worker: int | None = Field(None, description="the process's number among all workers that were started")
    pid: int | None = None
    device: str | None = None
    ready_at: datetime | None = Field(None, description="null while the model loads")
    predictions: int | None = Field(None, description="that the process was asked for")


class Limits(BaseModel):
    """What the server takes; sizes in bytes, durations in seconds."""

    max_body: int
    max_response: int
    load_files_quota: int = Field(description="files that are loaded ahead of their requests, in all")
    load_files_age: float = Field(description="after which those that no request has used are deleted")
    max_queue: int = Field(description="waiting requests for each worker")
    max_queue_bytes: int = Field(description="bodies in memory at once")
    startup_timeout: float
    predict_timeout: float
    read_timeout: float
    min_upload_rate: int = Field(description="bytes a second")
    on_disconnect: str = Field(description="what becomes of a predict whose client has left: finish or kill")
    strict: bool


class Info(BaseModel):
    """Everything that is known about the service."""

    service: ServiceFacts
    model: ModelFacts
    state: str
    reason: str | None = Field(description="why no worker can predict, if so")
    environment: EnvironmentFacts | None = Field(description="null until it is built or found")
    devices: list[str] | None = Field(description="one for each worker; null until they are known")
    waiting: int = Field(description="requests in the queue")
    workers: list[WorkerFacts]
    spares: SparesFacts
    restarts_by_cause: dict[str, int] = Field(
        description="how often a worker ended or did not start: crash, timeout, oom, over_memory, recycled_requests,"
        " recycled_memory, reload, failed_start, ended"
    )
    limits: Limits
