"""What the app holds while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from twinlens.service.bodies import BodyReader
from twinlens.service.explore.desk import Desk
from twinlens.service.keys import KeyStore
from twinlens.service.matching.collections import CollectionStore
from twinlens.service.matching.images import ImageLoader
from twinlens.service.metrics import Metrics
from twinlens.service.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """Made when the app starts, closed when it stops, found at `request.app.state.services`."""

    settings: Settings
    metrics: Metrics
    keys: KeyStore
    bodies: BodyReader
    loader: ImageLoader
    collections: CollectionStore
    explore: Desk
