"""FCM as Google describes it: Prism behind nginx, which speaks HTTP/2 over TLS for it.

`fcm.v1.json` is Google's own description of the API (revision 20261023, as google-api-python-client
2.202.0 brings it, Apache-2.0), untouched. Prism reads OpenAPI, so it is translated; an object with
named fields allows no others.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_DISCOVERY = Path(__file__).with_name("fcm.v1.json")
_KEPT = ("type", "enum", "pattern", "items", "properties", "additionalProperties")
_ACCEPTED = {"name": "projects/example-app/messages/m-1"}  # Prism's own would not be valid
_DURATION = r"^\d+(\.\d{1,9})?s$"

PROXY = """
    location / {{
        proxy_pass http://127.0.0.1:{port};
        proxy_http_version 1.1;
        proxy_set_header Host $host;
    }}
"""
"""What nginx needs to know of Prism's port."""


def description(folder: Path) -> Path:
    """The file of the description as OpenAPI, written into ``folder``."""
    discovery = json.loads(_DISCOVERY.read_text())
    send = discovery["resources"]["projects"]["resources"]["messages"]["methods"]["send"]
    file = folder / "fcm.openapi.json"
    file.write_text(
        json.dumps(
            {
                "openapi": "3.0.3",
                "info": {"title": discovery["title"], "version": discovery["revision"]},
                "paths": {f"/{send['flatPath']}": {"post": _operation(send)}},
                "components": {
                    "schemas": {
                        name: _schema(schema) for name, schema in discovery["schemas"].items()
                    },
                    "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
                },
            }
        )
    )
    return file


def _operation(method: dict[str, Any]) -> dict[str, Any]:
    path = method["flatPath"]
    names = [part[1:-1] for part in path.replace(":", "/").split("/") if part.startswith("{")]

    def content(name: str, **more: Any) -> dict[str, Any]:
        return {"application/json": {"schema": _ref(method[name]["$ref"]), **more}}

    return {
        "operationId": method["id"],
        "security": [{"token": []}],
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in names
        ],
        "requestBody": {"required": True, "content": content("request")},
        "responses": {
            "200": {"description": "Accepted", "content": content("response", example=_ACCEPTED)}
        },
    }


def _schema(found: dict[str, Any]) -> dict[str, Any]:
    """One schema of the discovery format as OpenAPI's."""
    if "$ref" in found:
        return _ref(found["$ref"])
    if found.get("type") == "any":
        return {}
    made = {name: found[name] for name in _KEPT if name in found}
    if found.get("format") == "google-duration":
        made["pattern"] = _DURATION
    if "items" in made:
        made["items"] = _schema(made["items"])
    if "properties" in made:
        made["properties"] = {name: _schema(one) for name, one in made["properties"].items()}
        made["additionalProperties"] = False
    elif "additionalProperties" in made:
        made["additionalProperties"] = _schema(made["additionalProperties"])
    return made


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}
