"""Reads what the other scripts published, with OWSLib: every replica must have it.

    read_published.py URL LAYER...
"""

import sys

from owslib.wfs import WebFeatureService
from owslib.wms import WebMapService
from owslib.wmts import WebMapTileService

# Each service several times in a row, so that every replica is seen.
ROUNDS = 4

url, layers = sys.argv[1], sys.argv[2:]
for _ in range(ROUNDS):
    for service in (
        WebMapService(f"{url}/wms", version="1.3.0"),
        WebFeatureService(f"{url}/wfs", version="2.0.0"),
        WebMapTileService(f"{url}/gwc/service/wmts"),
    ):
        missing = [layer for layer in layers if layer not in service.contents]
        assert not missing, f"{service.url} lacks {missing}"
