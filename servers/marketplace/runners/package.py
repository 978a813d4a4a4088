"""Packages of server.json (schema 2025-12-11) that are run over stdio: what a submission may say of one. Pure.

A submission names a package and the variables that it reads. It says nothing of the command: that is the operator's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from shared.errors import InvalidInput
from shared.ids import canonical_digest

ADDRESS = "stdio:"
"""How the address of a package begins: it is no URL, and nothing connects to it."""
IMAGE = re.compile(
    r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*){1,8}@sha256:[0-9a-f]{64}$"
)
NAME = re.compile(r"^(@[a-z0-9][a-z0-9._-]*/)?[A-Za-z0-9][A-Za-z0-9._-]*$")
VERSION = re.compile(r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,63}$")
VARIABLE_PATTERN = r"^[A-Z][A-Z0-9_]{0,63}$"

Kind = Literal["pypi", "npm", "nuget", "cargo", "mcpb", "oci"]
VariableName = Annotated[str, StringConstraints(pattern=VARIABLE_PATTERN)]


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Transport(_Told):
    """How a package is spoken to. Only `stdio` is run here."""

    type: Literal["stdio"]


class Variable(_Told):
    """An environment variable that a package reads."""

    name: VariableName


class Package(_Told):
    """One element of `packages` in a server.json, as far as it counts here.

    `runtimeArguments` and `packageArguments` are refused: a submission is no part of a command.
    """

    kind: Kind = Field(alias="registryType", description="Where the package comes from.")
    identifier: str = Field(max_length=400, description="Its name there; of `oci`, the image's name with its digest.")
    version: str | None = Field(None, max_length=64, description="Exactly one version; of `oci`, left out.")
    transport: Transport
    variables: tuple[Variable, ...] = Field((), alias="environmentVariables", max_length=20)
    runtime_arguments: tuple[Any, ...] = Field((), alias="runtimeArguments", max_length=0)
    package_arguments: tuple[Any, ...] = Field((), alias="packageArguments", max_length=0)

    @property
    def name(self) -> str:
        """What the operator's settings and an entry call it: `pypi:name@version`, `oci:host/name@sha256:…`."""
        return f"{self.kind}:{self.identifier}" + (f"@{self.version}" if self.version else "")

    @property
    def variable_names(self) -> tuple[str, ...]:
        """The names of its variables."""
        return tuple(each.name for each in self.variables)

    def address(self, server_name: str) -> str:
        """What stands for an address: another package, version or digest of the server is another address."""
        return ADDRESS + canonical_digest([server_name, self.as_stored()])

    def as_stored(self) -> dict[str, Any]:
        """The JSON that is stored, in server.json's own names."""
        return self.model_dump(by_alias=True, exclude_defaults=True)


def check_package(package: Package) -> Package:
    """Refuse a package that does not name exactly one thing.

    Raises:
        InvalidInput: no version or digest, or signs that no such name has.
    """
    if package.kind == "oci":
        if not IMAGE.fullmatch(package.identifier) or package.version:
            raise InvalidInput(
                "An image is named with its host and pinned by its digest: host/name@sha256:…, and has no version.",
                field="package",
            )
    elif not NAME.fullmatch(package.identifier) or not VERSION.fullmatch(package.version or ""):
        raise InvalidInput("A package has the name of its registry and one exact version.", field="package")
    return package


def package_of(told: Mapping[str, Any]) -> Package:
    """A package as a server.json has it.

    Raises:
        InvalidInput: it is none that can be run here.
    """
    try:
        return check_package(Package.model_validate(told))
    except ValidationError:
        raise InvalidInput(
            "A package has registryType, identifier, version and a transport of type stdio, and no arguments.",
            field="package",
        ) from None
