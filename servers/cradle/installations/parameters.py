"""What installation parameters must satisfy, what differs between two, and the choice that led to them. Pure."""

from __future__ import annotations

from typing import Any, get_args

from servers.cradle.installations.fingerprint import document
from shared.contracts.installation import InstallationParameters, ParameterChoice, ParameterDifference, ParameterValue
from shared.contracts.vision import LOCAL_PROVIDERS, ProviderName
from shared.errors import InvalidInput, ParameterDrift

NAMED_FIELDS = 3
ANEW = "call save_installation_params, then process_new_documents with parameter_version='newest' for all files anew"


def validate(parameters: InstallationParameters) -> None:
    """Refuses parameters that contradict themselves: passages longer than the model reads, an overlap of over half a
    passage, a remote provider for a customer marked local only.

    Raises:
        InvalidInput: names the field and the limit.
    """
    chunking, limit = parameters.chunking, parameters.embedding.max_tokens
    if chunking.max_tokens > limit:
        raise InvalidInput(f"The model reads {limit} tokens. Choose chunk_tokens up to that.", field="chunk_tokens")
    if chunking.overlap_tokens * 2 > chunking.max_tokens:
        raise InvalidInput("chunk_overlap is over half of chunk_tokens. Choose less.", field="chunk_overlap")
    if parameters.local_only and parameters.ocr.provider not in LOCAL_PROVIDERS:
        raise InvalidInput(
            "The customer is marked local_only, and this OCR provider is remote. Choose a local ocr_provider, or "
            "local_only=false where the customer agrees.",
            field="ocr_provider",
        )


def differences(old: InstallationParameters, new: InstallationParameters) -> list[ParameterDifference]:
    """Every field that differs, sorted by name."""
    before, after = flat(document(old)), flat(document(new))
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return [ParameterDifference(field=name, old=before.get(name), new=after.get(name)) for name in names]


def require_equal(stored: InstallationParameters, current: InstallationParameters) -> None:
    """Refuses parameters that are not the stored ones.

    Raises:
        ParameterDrift: names every field that drifted, with both values of the first ones.
    """
    drifted = differences(stored, current)
    if not drifted:
        return
    told = [f"{each.field} was {each.old} and is {each.new}" for each in drifted[:NAMED_FIELDS]]
    rest = ", ".join(each.field for each in drifted[NAMED_FIELDS:])
    also = f"; also differing: {rest}" if rest else ""
    raise ParameterDrift(
        f"This differs from the installation: {'; '.join(told)}{also}. Restore what was installed, or {ANEW}.",
        field=drifted[0].field,
    )


def choice_of(parameters: InstallationParameters) -> ParameterChoice:
    """The operator's choice that leads to these parameters again, on the model that is served now."""
    provider: Any = parameters.ocr.provider if parameters.ocr.provider in get_args(ProviderName) else None
    return ParameterChoice(
        embedding_model=None,
        chunk_tokens=parameters.chunking.max_tokens,
        chunk_overlap=parameters.chunking.overlap_tokens,
        ocr_provider=provider,
        local_only=parameters.local_only,
    )


def flat(value: dict[str, Any], prefix: str = "") -> dict[str, ParameterValue]:
    """Nested objects as one, with names joined by dots."""
    found: dict[str, ParameterValue] = {}
    for name, each in value.items():
        if isinstance(each, dict):
            found |= flat(each, f"{prefix}{name}.")
        else:
            found[prefix + name] = each
    return found
