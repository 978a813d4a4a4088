"""The OpenAPI document (3.1) of what the marketplace offers beside MCP. `GET /openapi.json`."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from servers.marketplace.oauth import Login
from servers.marketplace.services import Services
from shared.contracts.embedding import MAX_TEXT_CHARS, MAX_TEXTS
from shared.contracts.vision import VisionRequest
from shared.serving import json_response
from shared.settings import Settings
from shared.version import VERSION

Schema = dict[str, Any]
TEXT: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT_CHARS}
NAME: Schema = {
    "name": "name", "in": "path", "required": True,
    "schema": {"type": "string", "minLength": 3, "maxLength": 200},
    "description": "A server's name; write its slash as %2F.",
}  # fmt: skip

ERROR: Schema = {
    "type": "object",
    "required": ["code", "message", "retryable"],
    "properties": {
        "code": {"type": "string"},
        "message": {"type": "string"},
        "retryable": {"type": "boolean"},
        "field": {"type": "string"},
        "retry_after": {"type": "number"},
    },
}
SERVER: Schema = {
    "type": "object",
    "required": ["server", "_meta"],
    "properties": {
        "server": {
            "type": "object",
            "required": ["$schema", "name", "description", "version"],
            "properties": {name: {"type": "string"} for name in ("$schema", "name", "title", "description", "version")},
        },
        "_meta": {"type": "object"},
    },
}
SERVERS: Schema = {
    "type": "object",
    "required": ["servers", "metadata"],
    "properties": {
        "servers": {"type": "array", "items": SERVER},
        "metadata": {
            "type": "object",
            "required": ["count"],
            "properties": {"count": {"type": "integer", "minimum": 0}, "nextCursor": {"type": "string"}},
        },
    },
}
EMBEDDINGS: Schema = {
    "type": "object",
    "required": ["input", "model"],
    "properties": {
        "input": {"anyOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1, "maxItems": MAX_TEXTS}]},
        "model": {"type": "string", "maxLength": 200},
        "encoding_format": {"enum": ["float", "base64"]},
    },
}
LOGIN_ERRORS = (400, 401, 403, 404, 413, 429, 503)
LOGIN = Login.model_json_schema()
VISION = VisionRequest.model_json_schema(ref_template="#/components/schemas/{model}")
PARTS: dict[str, Schema] = VISION.pop("$defs")
TOKEN: Schema = {
    "type": "object",
    "required": ["access_token", "token_type", "expires_in", "scope"],
    "properties": {
        "access_token": {"type": "string"},
        "token_type": {"const": "Bearer"},
        "expires_in": {"type": "integer"},
        "scope": {"type": "string"},
    },
}


async def document(request: Request, services: Services) -> Response:
    """The document, for this server's address."""
    return json_response(openapi(services.settings), headers={"cache-control": "public, max-age=300"})


def openapi(settings: Settings) -> dict[str, Any]:
    """The document. Whatever is not in it is MCP (`/mcp`, `/servers/{name}/mcp`) or OAuth, which have their own."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "0711 MCP Central", "version": VERSION, "description": "Beside MCP: what plain HTTP can do."},
        "servers": [{"url": settings.url("marketplace")}],
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": ERROR, **PARTS},
        },
        "paths": {
            "/health": {"get": _operation("Whether the service works", {"type": "object"}, public=True, errors=(503,))},
            "/openapi.json": {"get": _operation("This document", {"type": "object"}, public=True, errors=())},
            "/.well-known/jwks.json": {"get": _operation("Public keys", {"type": "object"}, public=True, errors=())},
            "/.well-known/ended.json": {
                "get": _operation("Marks of accounts that ended lately", {"type": "object"}, public=True, errors=(503,))
            },
            "/.well-known/ai-catalog.json": {
                "get": _operation(
                    "Servers for everybody", {"type": "object"}, public=True, media="application/ai-catalog+json",
                    errors=(503,),
                )
            },
            "/v1/login": {
                "post": _operation("A token for a password", TOKEN, public=True, body=LOGIN, errors=LOGIN_ERRORS)
            },
            "/v1/embeddings": {"post": _operation("Vectors of texts", {"type": "object"}, body=EMBEDDINGS)},
            "/v1/vision": {"post": _operation("Text of an image or PDF", {"type": "object"}, body=VISION)},
            "/v0.1/servers": {"get": _operation("Servers of the catalogue", SERVERS, parameters=_LIST)},
            "/v0.1/servers/{name}/versions": {"get": _operation("Versions", SERVERS, parameters=[NAME])},
            "/v0.1/servers/{name}/versions/{version}": {
                "get": _operation("One version", SERVER, parameters=[NAME, _VERSION])
            },
        },
    }  # fmt: skip


_VERSION: Schema = {
    "name": "version", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1, "maxLength": 64},
    "description": "`latest`, or one of the versions.",
}  # fmt: skip
_LIST: list[Schema] = [
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 100}},
    {"name": "cursor", "in": "query", "schema": {"type": "string", "maxLength": 400}},
    {"name": "search", "in": "query", "schema": {"type": "string", "maxLength": 200}},
    {"name": "updated_since", "in": "query", "schema": {"type": "string", "format": "date-time"}},
    {"name": "version", "in": "query", "schema": {"enum": ["latest"]}},
]


def _operation(
    summary: str,
    answer: Schema,
    *,
    public: bool = False,
    body: Schema | None = None,
    parameters: list[Schema] | None = None,
    media: str = "application/json",
    errors: tuple[int, ...] = (400, 401, 403, 404, 413, 429, 503, 504),
) -> dict[str, Any]:
    refused = {"description": "Refused", "content": {"application/json": {"schema": _REF}}}
    told: dict[str, Any] = {
        "summary": summary,
        "responses": {
            "200": {"description": "Done", "content": {media: {"schema": answer}}},
            **{str(status): refused for status in errors},
        },
    }
    if not public:
        told["security"] = [{"token": []}]
    if parameters:
        told["parameters"] = parameters
    if body is not None:
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return told


_REF: Schema = {"$ref": "#/components/schemas/Error"}
