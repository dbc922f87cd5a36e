"""knowledge-retrieval, knowledge-retrieval-v2 and knowledge-index: search and fill knowledge bases."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from ..values import ValueType
from .base import NodeData, NodeType
from .llm import ModelConfig, VisionConfig

NEEDS_KNOWLEDGE = "a knowledge base, which this version does not have"


class Reranking(BaseModel):
    """How results of several knowledge bases are merged."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    top_k: int = 4
    score_threshold: float | None = None
    reranking_enable: bool = True
    reranking_mode: str | None = "reranking_model"
    reranking_model: dict[str, JsonValue] | None = None
    weights: dict[str, JsonValue] | None = None


class SingleRetrieval(BaseModel):
    """The model that chooses one knowledge base."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: ModelConfig


class MetadataCondition(BaseModel):
    """A condition on a metadata field of documents."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    comparison_operator: str
    value: JsonValue = None


class MetadataFilter(BaseModel):
    """Conditions on metadata."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    logical_operator: Literal["and", "or"] | None = "and"
    conditions: tuple[MetadataCondition, ...] | None = None


class KnowledgeRetrievalData(NodeData):
    """Data of a knowledge-retrieval."""

    type: Literal["knowledge-retrieval"]
    query_variable_selector: tuple[str, ...] | None = None
    query_attachment_selector: tuple[str, ...] | None = None
    dataset_ids: tuple[str, ...]
    retrieval_mode: Literal["single", "multiple"]
    multiple_retrieval_config: Reranking | None = None
    single_retrieval_config: SingleRetrieval | None = None
    metadata_filtering_mode: Literal["disabled", "automatic", "manual"] | None = "disabled"
    metadata_model_config: ModelConfig | None = None
    metadata_filtering_conditions: MetadataFilter | None = None
    vision: VisionConfig | None = None

    @field_validator("single_retrieval_config", "metadata_model_config", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return value or None


class KnowledgeFilters(BaseModel):
    """What version 2 narrows a search by."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    node_kinds: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


class KnowledgeRetrievalV2Data(NodeData):
    """Data of a knowledge-retrieval-v2."""

    type: Literal["knowledge-retrieval-v2"]
    query_variable_selector: tuple[str, ...] = Field(min_length=2)
    control_space_ids: tuple[str, ...] = ()
    metadata_filters: KnowledgeFilters | None = None
    top_n: int | None = None


class KnowledgeIndexData(NodeData):
    """Data of a knowledge-index, the end of a knowledge pipeline."""

    type: Literal["knowledge-index"]
    chunk_structure: str = ""
    index_chunk_variable_selector: tuple[str, ...] = ()
    indexing_technique: str = ""


def _result(_data: NodeData) -> dict[str, ValueType]:
    return {"result": ValueType.ARRAY_OBJECT}


NODES = (
    NodeType(name="knowledge-retrieval", data=KnowledgeRetrievalData, outputs=_result, needs=NEEDS_KNOWLEDGE),
    NodeType(name="knowledge-retrieval-v2", data=KnowledgeRetrievalV2Data, outputs=_result, needs=NEEDS_KNOWLEDGE),
    NodeType(name="knowledge-index", data=KnowledgeIndexData, needs=NEEDS_KNOWLEDGE),
)
