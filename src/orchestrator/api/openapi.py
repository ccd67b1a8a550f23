"""Write the API's description for the page's client: `python -m orchestrator.api.openapi [FILE]`."""

import json
import sys
from pathlib import Path
from typing import Any

from orchestrator.api.application import create_app
from orchestrator.config import Settings

FILE = Path("ui/openapi.json")


def describe() -> dict[str, Any]:
    """The API's OpenAPI document, the same on every machine."""
    settings = Settings.model_construct(
        **{name: field.get_default() for name, field in Settings.model_fields.items()}
    )
    return create_app(None, settings).openapi()


def render() -> str:
    """The text of `ui/openapi.json`."""
    return json.dumps(describe(), indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> None:
    """Write the description to the file that is named, by default the one that the page's client is made from."""
    target = Path(arguments[0]) if arguments else FILE
    target.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
