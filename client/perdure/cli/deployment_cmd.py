"""`perdure deployment`: which version of the workers new runs go to, and which runs still hold an old one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from temporalio.api.enums.v1 import VersionDrainageStatus, WorkerDeploymentVersionStatus
from temporalio.api.workflowservice.v1 import (
    DescribeWorkerDeploymentRequest,
    DescribeWorkerDeploymentResponse,
    SetWorkerDeploymentCurrentVersionRequest,
)
from temporalio.service import RPCError, RPCStatusCode

from perdure_graph.errors import CommandRefused, PlatformError

from .connect import connect, required
from .output import OK, Output

if TYPE_CHECKING:
    from perdure.client import Client

PATIENCE_S = 10.0
_PAUSE_S = 0.1


async def set_current(name: str, build_id: str, address: str | None, out: Output) -> int:
    """Send new runs to a version of a deployment."""
    client = await connect(required(address))
    was = await make_current(client, name, build_id)
    out.say(f"{name}: new runs go to {build_id!r}" + (f" (before: {was!r})" if was else ""))
    if out.as_json:
        out.json({"deployment": name, "current": build_id, "before": was or None})
    return OK


async def show(name: str, address: str | None, out: Output) -> int:
    """Write the versions of a deployment, the current one first."""
    client = await connect(required(address))
    info = (await _described(client, name)).worker_deployment_info
    current = info.routing_config.current_deployment_version.build_id
    versions = [
        {
            "build_id": version.deployment_version.build_id,
            "current": version.deployment_version.build_id == current,
            "status": _word(WorkerDeploymentVersionStatus.Name(version.status)),
            "drained": version.drainage_info.status == VersionDrainageStatus.VERSION_DRAINAGE_STATUS_DRAINED,
        }
        for version in info.version_summaries
    ]
    versions.sort(key=lambda version: (not version["current"], version["build_id"]))
    for version in versions:
        out.say(f"{version['build_id']}  {version['status']}{_advice(version)}")
    if out.as_json:
        out.json({"deployment": name, "current": current or None, "versions": versions})
    return OK


def _advice(version: dict[str, Any]) -> str:
    if version["drained"]:
        return ": no run needs it, its workers may go"
    return ": open runs need its workers" if version["status"] == "draining" else ""


def _word(name: str) -> str:
    return name.removeprefix("WORKER_DEPLOYMENT_VERSION_STATUS_").lower()


async def make_current(client: Client, name: str, build_id: str) -> str:
    """Make a version the current one of its deployment and give the one before, empty when there was none.

    A server hears of a version with the first poll of its first worker, so one that is not known yet is waited for.

    Raises:
        CommandRefused: no worker of that version has polled.
        PlatformError: the server refuses for another reason.
    """
    request = SetWorkerDeploymentCurrentVersionRequest(
        namespace=client.temporal.namespace,
        deployment_name=name,
        build_id=build_id,
        identity=client.temporal.identity,
    )
    refusal = "it did not answer"
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    reply = await client.temporal.workflow_service.set_worker_deployment_current_version(request)
                except RPCError as error:
                    if error.status not in (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION):
                        raise PlatformError(f"the server refused to change {name!r}: {error.message}") from error
                    refusal = error.message
                    await asyncio.sleep(_PAUSE_S)
                else:
                    return reply.previous_deployment_version.build_id
    except TimeoutError as error:
        raise CommandRefused(
            f"{build_id!r} cannot become the current version of {name!r} ({refusal}). Start its workers first: "
            f"perdure worker --versioned --deployment {name} --build-id {build_id}"
        ) from error


async def _described(client: Client, name: str) -> DescribeWorkerDeploymentResponse:
    request = DescribeWorkerDeploymentRequest(namespace=client.temporal.namespace, deployment_name=name)
    try:
        return await client.temporal.workflow_service.describe_worker_deployment(request)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise CommandRefused(
                f"the server knows no deployment {name!r}. It appears with its first worker: "
                f"perdure worker --versioned --deployment {name} --build-id ID"
            ) from error
        raise
