"""What is written beside an image so that others can trust it: bill of materials, provenance, signatures, public key.

Provenance: an in-toto statement with the predicate SLSA v1 (https://slsa.dev/spec/v1.0/provenance).
"""

from __future__ import annotations

import base64
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from servers.cradle.images.assemble import Assembled
from servers.cradle.images.files import write_new
from servers.cradle.images.layers import Layer
from servers.cradle.images.sbom import SBOM, bill_of_materials, interpreter
from servers.cradle.images.signing import PUBLIC_KEY, SIGNATURE, TAR_SIGNATURE, Signer
from servers.cradle.images.spec import ImageSpec
from shared.ids import digest
from shared.signatures import STATEMENT

PROVENANCE = "provenance.dsse.json"
FILES = (SBOM, PROVENANCE, SIGNATURE, TAR_SIGNATURE, PUBLIC_KEY)
_BUILD_TYPE, _BUILDER = "urn:0711:customer-image:v1", "urn:0711:cradle"
_SLSA = "https://slsa.dev/provenance/v1"


def write_evidence(
    folder: Path, spec: ImageSpec, layers: Sequence[Layer], written: Assembled, inputs: str, own_base: bool,
    signer: Signer,
) -> None:  # fmt: skip
    """Write `FILES` into the folder of a finished image; blocking.

    Args:
        inputs: digest over everything that the image was made of; names this build.
        own_base: the base is the running Python.
    """
    more = [interpreter(platform.python_version())] if own_base else []
    bill = bill_of_materials(spec, layers, written, more)
    annotations = {
        "com.0711.archive.digest": written.archive_digest,
        "com.0711.sbom.digest": digest(bill),
        "com.0711.dataset.digest": spec.dataset_digest,
    }
    tar_signature = base64.b64encode(signer.sign_digest(written.archive_digest))
    write_new(folder / SBOM, bill)
    write_new(folder / PROVENANCE, signer.envelope(provenance(spec, layers, written, inputs)))
    write_new(folder / SIGNATURE, signer.image_signature(spec.repository, written.manifest_digest, annotations))
    write_new(folder / TAR_SIGNATURE, tar_signature)
    write_new(folder / PUBLIC_KEY, signer.verifier.pem)


def provenance(spec: ImageSpec, layers: Sequence[Layer], written: Assembled, inputs: str) -> dict[str, Any]:
    """The statement of how an image was made: from which dataset, parameters, model and layers."""
    sources = [{"name": "dataset", "digest": _sha256(spec.dataset_digest)}]
    sources += [{"name": f"layer/{layer.kind}", "digest": _sha256(layer.diff_id)} for layer in layers]
    sources += [
        {"name": f"layer/{layer.kind}/{variant.architecture}", "digest": _sha256(layer.diff_id)}
        for variant in written.variants[1:]
        for layer in variant.layers
        if layer not in layers
    ]
    return {
        "_type": STATEMENT,
        "predicateType": _SLSA,
        "subject": [
            {"name": spec.reference, "digest": _sha256(written.manifest_digest)},
            {"name": "image.tar", "digest": _sha256(written.archive_digest)},
            *(
                {"name": f"{spec.reference} linux/{each.architecture}", "digest": _sha256(digest(each.manifest))}
                for each in written.variants
            ),
        ],
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": {"customer": spec.customer_id, "tag": spec.tag},
                "internalParameters": {
                    "parameter_version": spec.parameter_version,
                    "parameter_fingerprint": spec.fingerprint,
                },
                "resolvedDependencies": sources,
            },
            "runDetails": {
                "builder": {"id": _BUILDER, "version": {"platform-0711": metadata.version("platform-0711")}},
                "metadata": {"invocationId": inputs},
            },
        },
    }


def _sha256(value: str) -> dict[str, str]:
    return {"sha256": value.removeprefix("sha256:")}
