"""What processing adds to the installation parameters, and the check that it is still the same."""

from __future__ import annotations

from servers.cradle.installations.parameters import ANEW, validate
from servers.cradle.processing import chunking
from servers.cradle.processing.extract import versions
from shared.contracts.installation import (
    ChunkingParameters,
    EmbeddingParameters,
    InstallationParameters,
    OcrParameters,
    ParameterChoice,
)
from shared.dataset.graph import RULES as GRAPH_RULES
from shared.errors import InvalidInput, ParameterDrift


def current_parameters(
    choice: ParameterChoice, embedding: EmbeddingParameters, ocr: OcrParameters
) -> InstallationParameters:
    """The parameters that an installation made now would have.

    Args:
        embedding: the model that is served.
        ocr: of the provider that is chosen.

    Raises:
        InvalidInput: a choice does not fit: another model than the one served, or as `validate`.
    """
    if choice.embedding_model not in (None, embedding.model):
        raise InvalidInput(
            f"This cradle serves {embedding.model}. Leave embedding_model out, or start one with the other model.",
            field="embedding_model",
        )
    parameters = InstallationParameters(
        embedding=embedding,
        chunking=ChunkingParameters(
            chunker=chunking.NAME,
            version=chunking.VERSION,
            max_tokens=choice.chunk_tokens,
            overlap_tokens=choice.chunk_overlap,
        ),
        ocr=ocr,
        extractors=versions(),
        graph_rules=GRAPH_RULES,
        local_only=choice.local_only,
    )
    validate(parameters)
    return parameters


def require_same_processing(parameters: InstallationParameters) -> None:
    """Raises `ParameterDrift` naming the first thing about reading and cutting that is not what it was."""
    current = {f"extractors.{name}": version for name, version in versions().items()}
    current |= {
        "chunking.chunker": chunking.NAME,
        "chunking.version": chunking.VERSION,
        "graph_rules": GRAPH_RULES,
    }
    stored = {f"extractors.{name}": version for name, version in parameters.extractors.items()}
    stored |= {
        "chunking.chunker": parameters.chunking.chunker,
        "chunking.version": parameters.chunking.version,
        "graph_rules": parameters.graph_rules,
    }
    for field in sorted(current.keys() | stored.keys()):
        if current.get(field) != stored.get(field):
            raise ParameterDrift(
                f"{field} is {current.get(field)} here but {stored.get(field)} in the installation. "
                f"To go on with what is here, {ANEW}.",
                field=field,
            )
