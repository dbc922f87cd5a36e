"""Large specifications in the manner of well-known ones: a code host (3.0), payments (3.0), a cluster (Swagger 2)."""

from __future__ import annotations

from typing import Any

_KINDS = ("issue", "pull", "branch", "commit", "release", "label", "hook", "team")
_VERBS = {"get": "get", "post": "create", "put": "replace", "patch": "update", "delete": "delete"}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def code_host() -> dict[str, Any]:
    """Names with slashes, shared parameters, `nullable`, objects that hold each other, wide bodies."""
    schemas: dict[str, Any] = {
        "user": {
            "type": "object",
            "properties": {
                "login": {"type": "string"},
                "id": {"type": "integer", "format": "int64", "readOnly": True},
                "email": {"type": "string", "nullable": True, "format": "email"},
                "followers": {"type": "array", "items": _ref("user")},
            },
            "required": ["login", "id"],
        }
    }
    paths: dict[str, Any] = {}
    owner = [{"$ref": "#/components/parameters/owner"}, {"$ref": "#/components/parameters/repo"}]
    for kind in _KINDS:
        fields = {f"{kind}_field_{number}": {"type": "string", "description": "words " * 30} for number in range(40)}
        schemas[kind] = {
            "type": "object",
            "required": ["title", "state"],
            "properties": {
                "title": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
                "state": {"type": "string", "enum": ["on", "off"], "default": "on"},
                "author": {"allOf": [_ref("user")], "nullable": True, "description": "Who"},
                "parent": _ref(kind),
                "more": {"type": "object", "additionalProperties": _ref("user")},
                **fields,
            },
        }
        base = f"/repos/{{owner}}/{{repo}}/{kind}s"
        paths[base] = {"parameters": owner}
        paths[f"{base}/{{number}}"] = {
            "parameters": [*owner, {"name": "number", "in": "path", "required": True, "schema": {"type": "integer"}}]
        }
        for method, verb in _VERBS.items():
            for path in (base, f"{base}/{{number}}"):
                made: dict[str, Any] = {"operationId": f"{kind}s/{verb}", "description": "long " * 900}
                if method in ("post", "put", "patch"):
                    made["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(kind)}}}
                else:
                    made["parameters"] = [
                        {"name": "per_page", "in": "query", "schema": {"type": "integer", "maximum": 100}},
                        {"name": "filter[state]", "in": "query", "schema": {"type": "string", "enum": ["on", "off"]}},
                        {"name": "X-Host-Version", "in": "header", "schema": {"type": "string"}},
                    ]
                paths[path][method] = made
    return {
        "openapi": "3.0.3",
        "info": {"title": "code host", "version": "1"},
        "servers": [{"url": "https://{region}.host.example", "variables": {"region": {"default": "api"}}}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": {
                name: {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in ("owner", "repo")
            },
        },
    }


def payments() -> dict[str, Any]:
    """Forms of deep objects, and choices of choices that grow beyond measure when they are written out."""
    names = [f"object_{number}" for number in range(40)]
    schemas = {
        name: {
            "type": "object",
            "properties": {
                "id": {"type": "string", "maxLength": 5000},
                "amount": {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
                "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
                **{
                    f"link_{step}": {
                        "anyOf": [{"type": "string"}, _ref(names[(index + step) % 40])],
                        "discriminator": {"propertyName": "id"},
                    }
                    for step in range(1, 9)
                },
            },
        }
        for index, name in enumerate(names)
    }
    paths = {
        f"/v1/{name}s": {
            "get": {
                "operationId": f"Get{name}",
                "parameters": [
                    {
                        "name": "created",
                        "in": "query",
                        "style": "deepObject",
                        "explode": True,
                        "schema": {
                            "anyOf": [
                                {"type": "object", "properties": {"gt": {"type": "integer"}}},
                                {"type": "integer"},
                            ]
                        },
                    },
                    {"name": "expand", "in": "query", "style": "deepObject", "schema": {"type": "array", "items": {}}},
                ],
            },
            "post": {
                "operationId": f"Post{name}",
                "requestBody": {
                    "content": {
                        "application/x-www-form-urlencoded": {
                            "encoding": {"link_1": {"style": "deepObject", "explode": True}},
                            "schema": _ref(name),
                        }
                    }
                },
            },
        }
        for name in names
    }
    return {
        "openapi": "3.0.0",
        "info": {"title": "p", "version": "1"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def cluster() -> dict[str, Any]:
    """Swagger 2: bodies and forms as parameters, definitions with dots that hold themselves, many without a name."""
    definitions: dict[str, Any] = {
        "io.cluster.JSONSchemaProps": {
            "type": "object",
            "properties": {
                "$ref": {"type": "string"},
                "not": {"$ref": "#/definitions/io.cluster.JSONSchemaProps"},
                "allOf": {"type": "array", "items": {"$ref": "#/definitions/io.cluster.JSONSchemaProps"}},
                "properties": {
                    "type": "object",
                    "additionalProperties": {"$ref": "#/definitions/io.cluster.JSONSchemaProps"},
                },
            },
        }
    }
    paths: dict[str, Any] = {}
    for number in range(40):
        definitions[f"io.cluster.Kind{number}"] = {
            "type": "object",
            "required": ["spec"],
            "properties": {
                "spec": {"$ref": f"#/definitions/io.cluster.Kind{(number + 1) % 40}"},
                "schema": {"$ref": "#/definitions/io.cluster.JSONSchemaProps"},
                "quantity": {"type": "string", "format": "int-or-string", "x-nullable": True},
            },
        }
        body = {
            "name": "body",
            "in": "body",
            "required": True,
            "schema": {"$ref": f"#/definitions/io.cluster.Kind{number}"},
        }
        name = {"name": "name", "in": "path", "type": "string", "required": True}
        paths[f"/apis/kinds{number}/{{name}}"] = {
            "parameters": [name, {"name": "labels", "in": "query", "type": "array", "items": {"type": "string"}}],
            "get": {},
            "put": {"operationId": f"replace.kind.{number}", "parameters": [body]},
            "post": {
                "consumes": ["multipart/form-data"],
                "parameters": [
                    {"name": "file", "in": "formData", "type": "file", "required": True},
                    {"name": "note", "in": "formData", "type": "string"},
                ],
            },
            "delete": {"operationId": "delete"},
        }
    return {
        "swagger": "2.0",
        "info": {},
        "host": "c.example",
        "basePath": "/",
        "paths": paths,
        "definitions": definitions,
    }
