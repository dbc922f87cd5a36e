"""datasource: the root of a knowledge pipeline."""

from __future__ import annotations

from typing import Literal

from pydantic import JsonValue

from ..values import ValueType
from .base import NodeData, NodeType


class DatasourceData(NodeData):
    """Data of a datasource."""

    type: Literal["datasource"]
    plugin_id: str = ""
    provider_name: str = ""
    provider_type: str = ""
    datasource_name: str | None = None
    datasource_parameters: dict[str, JsonValue] | None = None


def _outputs(_data: DatasourceData) -> dict[str, ValueType]:
    return {
        "datasource_type": ValueType.STRING,
        "document": ValueType.OBJECT,
        "file": ValueType.FILE,
    }


NODE = NodeType(
    name="datasource",
    data=DatasourceData,
    outputs=_outputs,
    role="root",
    needs="a data source plugin, which this version does not have",
)
