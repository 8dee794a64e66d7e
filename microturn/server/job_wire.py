"""What a client of the live protocol is told of delegated tasks (docs/protocol.md). All but the first event is ours."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from microturn.background.package import ContextPackage
from microturn.background.results import Result
from microturn.server.wire import ToClient


class DelegationExtras(Struct, frozen=True):
    """What is ours: what is asked for, and which job does it."""

    task: str
    job_id: str


class DelegationResource(Struct, frozen=True):
    id: str
    target: Literal["client", "responses"]
    microturn: DelegationExtras
    type: Literal["delegation"] = "delegation"


class DelegationCreated(ToClient, tag="session.delegation.created"):
    offset_ms: int
    delegation: DelegationResource


class DelegationPackage(ToClient, tag="session.delegation.package"):
    offset_ms: int
    delegation_id: str
    package: ContextPackage


class OfJob(ToClient):
    """Something about a job, told at a place on the session's timeline."""

    job_id: str
    offset_ms: int


class JobState(OfJob, tag="session.job.state"):
    state: Literal["running", "done", "failed", "cancelled"]
    task: str = ""
    reason: str = ""


class JobResult(OfJob, tag="session.job.result"):
    index: int
    result: Result


JobEvent = DelegationCreated | DelegationPackage | JobState | JobResult
