"""What can go wrong with a payload; all of it is the operator's to mend, and a run waits until it is.

None of these may ever be a non-retryable failure: the SDK ends a run for good with one of those.
"""

from __future__ import annotations

from perdure_graph.errors import PlatformError


class BlobsUnavailable(PlatformError):
    """The place where large values are kept cannot be reached, or takes no more."""

    code = "blobs_unavailable"


class BlobMissing(PlatformError):
    """A large value is not where it was put, or is damaged."""

    code = "blob_missing"


class KeyUnknown(PlatformError):
    """A payload is encrypted with a key that is not in the key ring, or was changed after it was encrypted."""

    code = "payload_key_unknown"
