"""Every error TwinLens raises, by who must act.

TwinLensError
├── InputError                 the caller: a value or a file that was handed in
│   ├── DecodeError            one image cannot be read; a row in the failure report, never the end of a run
│   ├── SourceError            a folder or list of paths cannot be read
│   ├── FetchError             one URL cannot be downloaded, or must not be
│   ├── AuthRequired           a request without a key that counts
│   ├── InvalidValue           a threshold, a count, a rule or an id outside what is served
│   └── TooManyPairs           a threshold so low that its pairs explode
├── ServiceError               the operator: addresses, keys, what the service remembers
│   ├── UnsafeAddress          a public address without keys
│   ├── AddressInUse
│   ├── NotAStore              a file of the service is damaged or of something else
│   └── UnknownKey
├── ModelError                 the operator: models, weights, devices
│   ├── UnknownModel
│   ├── WeightsUnavailable     neither on disk nor to be downloaded
│   ├── WeightsCorrupt         on disk, but not what they should be
│   ├── DeviceUnavailable
│   ├── TextNotSupported       an image-only model was asked for text
│   └── ModelMismatch          vectors of two models would meet
└── DatasetError               the operator: the dataset folder
    ├── NotADataset
    ├── DatasetExists
    ├── DatasetLocked          another process writes
    ├── DatasetReadOnly
    ├── DatasetUnfinished      an unfinished write-ahead log on a read-only mount
    ├── DatasetCorrupt
    ├── FormatTooNew
    └── StorageFull

A message names the input, the rule it broke and what to do about it.
"""

from __future__ import annotations


class TwinLensError(Exception):
    """Root of the tree."""


class InputError(TwinLensError):
    """A value or a file that was handed in."""


class DecodeError(InputError):
    """One image cannot be read.

    Attributes:
        reason: one sentence for a person, without the name of the image.
        stage: where it failed: "open", "read", "identify", "limits" or "decode".
        retryable: True if the same file may be read later (no permission, an unreadable disk),
            False if its bytes are at fault.
    """

    def __init__(self, reason: str, *, stage: str, retryable: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.stage = stage
        self.retryable = retryable


class SourceError(InputError):
    """A folder or a list of paths cannot be read."""


class FetchError(InputError):
    """One URL cannot be downloaded, or must not be.

    Attributes:
        reason: one sentence for a person, without the URL.
        refused: True if a rule forbids it (scheme, address, size), False if the download failed.
    """

    def __init__(self, reason: str, *, refused: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refused = refused


class AuthRequired(InputError):
    """A request comes without a key, or with one that does not count.

    Attributes:
        reason: one sentence for the caller, the same for every wrong key.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class InvalidValue(InputError):
    """A threshold, a count, a rule or an id outside what is served."""


class TooManyPairs(InputError):
    """A threshold so low that its pairs explode.

    Attributes:
        threshold: what was asked for.
        pairs: how many pairs it has, counted or estimated.
        limit: how many are served.
        lowest_served: the lowest threshold, a multiple of 0.001, that stays within the limit.
    """

    def __init__(self, *, threshold: float, pairs: int, limit: int, lowest_served: float) -> None:
        super().__init__(
            f"threshold {threshold:g} has about {pairs:,} pairs, and at most {limit:,} are served: "
            f"ask for {lowest_served:.3f} or more"
        )
        self.threshold = threshold
        self.pairs = pairs
        self.limit = limit
        self.lowest_served = lowest_served


class ServiceError(TwinLensError):
    """Addresses, keys, and what the service remembers."""


class UnsafeAddress(ServiceError):
    """A server that asks for no key would be reachable from other machines."""


class AddressInUse(ServiceError):
    """Another program listens on that port."""


class NotAStore(ServiceError):
    """A file of the service is damaged, newer than this version, or not one of its files."""


class UnknownKey(ServiceError):
    """No key has that name."""


class ModelError(TwinLensError):
    """Models, weights, devices."""


class UnknownModel(ModelError):
    """No such model name."""


class WeightsUnavailable(ModelError):
    """Weights are neither on disk nor to be downloaded."""


class WeightsCorrupt(ModelError):
    """Weights are on disk, but not what they should be."""


class DeviceUnavailable(ModelError):
    """The device that was asked for is not on this machine."""


class TextNotSupported(ModelError):
    """An image-only model was asked for text."""


class ModelMismatch(ModelError):
    """Vectors of two models would meet."""


class DatasetError(TwinLensError):
    """The dataset folder."""


class NotADataset(DatasetError):
    """The folder holds no dataset."""


class DatasetExists(DatasetError):
    """The folder holds a dataset already."""


class DatasetLocked(DatasetError):
    """Another process writes to the dataset."""


class DatasetReadOnly(DatasetError):
    """A change was asked of a dataset that cannot be written."""


class DatasetUnfinished(DatasetError):
    """A read-only dataset has a write-ahead log that was never folded in."""


class DatasetCorrupt(DatasetError):
    """A file of the dataset is not what the catalog says."""


class FormatTooNew(DatasetError):
    """The dataset was written by a newer TwinLens."""


class StorageFull(DatasetError):
    """No room is left where the dataset lies."""
