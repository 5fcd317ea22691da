"""Searches a STAC with pystac-client, which posts its searches.

    search_with_pystac.py URL
"""

import sys

from pystac_client import Client

client = Client.open(f"{sys.argv[1]}/ogc/stac/v1")
assert [collection.id for collection in client.get_collections()]
for method in ("POST", "GET"):
    search = client.search(method=method, collections=["scenes"], bbox=[-10, 40, 10, 50], limit=10, max_items=25)
    found = [item.id for item in search.items()]
    assert len(found) == 25 and len(set(found)) == 25, (method, found)
