"""Failures of a request that the engine has no word for; `routes` turns each into its HTTP code."""

from __future__ import annotations

from twinlens.engine.errors import InputError


class BadRequest(InputError):
    """A part of the request is missing, too large, or of a kind that is not served: 400."""


class Forbidden(InputError):
    """The caller may see the dataset and not change it: 403."""


class NotFound(InputError):
    """There is no such thing, or the caller may not know of it: 404."""


class Conflict(InputError):
    """The state of the dataset does not allow it now: 409."""
