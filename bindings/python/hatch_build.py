"""Takes the component into the package: of the checkout, or of the source distribution that this is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAME = "smtp-fallback-policy.wasm"


class ComponentHook(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        package = Path(self.root) / "smtp_fallback" / NAME
        component = Path(self.root).parents[1] / "dist" / NAME
        if component.is_file():
            build_data["force_include"][str(component)] = f"smtp_fallback/{NAME}"
        elif not package.is_file():
            raise RuntimeError(f"{component} is not there; build it by `cargo xtask component`")
