"""document-extractor: read the text of a file or of each file of an array."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..values import ValueType
from .base import NodeData, NodeType


class DocumentExtractorData(NodeData):
    """Data of a document-extractor."""

    type: Literal["document-extractor"]
    variable_selector: tuple[str, ...] = Field(min_length=2)
    is_array_file: bool = False


def _outputs(data: DocumentExtractorData) -> dict[str, ValueType]:
    return {"text": ValueType.ARRAY_STRING if data.is_array_file else ValueType.STRING}


NODE = NodeType(
    name="document-extractor",
    data=DocumentExtractorData,
    outputs=_outputs,
    needs="document parsers, which this version does not have",
)
