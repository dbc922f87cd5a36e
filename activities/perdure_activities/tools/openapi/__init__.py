"""Tools out of OpenAPI 3 and Swagger 2 documents: every operation is one.

source -> document -> operations (servers, security, swagger2) -> shape (schemas, weight) -> ToolDeclaration
tool: arguments -> styles, bodies, auth -> net.fetch -> replies -> parts of a result
"""

from .config import OpenAPISource
from .problems import BadSpec
from .source import OpenAPITools

__all__ = ["BadSpec", "OpenAPISource", "OpenAPITools"]
