"""Reads every service with OWSLib, by GET and by POST.

    read_with_owslib.py URL
"""

import json
import sys

from owslib.csw import CatalogueServiceWeb
from owslib.fes import PropertyIsLike
from owslib.ogcapi.features import Features
from owslib.wcs import WebCoverageService
from owslib.wfs import WebFeatureService
from owslib.wms import WebMapService
from owslib.wmts import WebMapTileService
from owslib.wps import WebProcessingService

PNG = b"\x89PNG"
TIFF = b"II*\0"
# The namespace of a filter by the version of WFS, and how it names a property.
FILTERS = {
    "1.1.0": ("http://www.opengis.net/ogc", "PropertyName"),
    "2.0.0": ("http://www.opengis.net/fes/2.0", "ValueReference"),
}
NOT_EQUAL = ("<PropertyIsNotEqualTo>", "</PropertyIsNotEqualTo>")

url = sys.argv[1]

for version, srs in (("1.1.1", "EPSG:4326"), ("1.3.0", "EPSG:4326")):
    wms = WebMapService(f"{url}/wms", version=version)
    assert "geor:roads" in wms.contents
    picture = wms.getmap(layers=["geor:roads"], styles=[""], srs=srs, bbox=(-10, 40, 10, 50), size=(300, 200), format="image/png")
    assert picture.read().startswith(PNG)
    info = wms.getfeatureinfo(
        layers=["geor:roads"], query_layers=["geor:roads"], styles=[""], srs=srs, bbox=(-10, 40, 10, 50), size=(300, 200),
        format="image/png", info_format="application/json", xy=(100, 100),
    )
    assert json.loads(info.read())["features"]

for version in ("1.1.0", "2.0.0"):
    wfs = WebFeatureService(f"{url}/wfs", version=version)
    assert "geor:roads" in wfs.contents
    assert "number" in wfs.get_schema("geor:roads")["properties"]
    answer = wfs.getfeature(typename=["geor:roads"], maxfeatures=7, outputFormat="application/json")
    assert len(json.loads(answer.read())["features"]) == 7
    # A filter too long for an address: clients change to POST exactly then.
    namespace, name = FILTERS[version]
    numbers = "".join(f"<{name}>number</{name}><Literal>{number}</Literal>".join(NOT_EQUAL) for number in range(300))
    long_filter = f'<query><Filter xmlns="{namespace}"><And>{numbers}</And></Filter></query>'
    assert len(long_filter) > 8192
    answer = wfs.getfeature(typename=["geor:roads"], filter=long_filter, maxfeatures=3, outputFormat="application/json", method="Post")
    # For 2.0.0 OWSLib misspells the attribute of the format, so the answer is GML.
    assert b"roads.2" in answer.read()

for version, name in (("1.0.0", "geor:elevation"), ("2.0.1", "geor__elevation")):
    wcs = WebCoverageService(f"{url}/wcs", version=version)
    assert name in wcs.contents, list(wcs.contents)
    if version == "1.0.0":
        coverage = wcs.getCoverage(identifier=name, bbox=(-10, 40, 10, 50), crs="EPSG:4326", format="GeoTIFF", width=50, height=50)
    else:
        coverage = wcs.getCoverage(identifier=name, format="image/tiff", subsets=[("Lat", 40, 50), ("Long", -10, 10)])
    assert coverage.read().startswith(TIFF)

for address in (f"{url}/gwc/service/wmts",):
    wmts = WebMapTileService(address)
    assert "geor:roads" in wmts.contents
    tile = wmts.gettile(layer="geor:roads", tilematrixset="EPSG:900913", tilematrix="EPSG:900913:3", row=2, column=4, format="image/png")
    assert tile.read().startswith(PNG)

csw = CatalogueServiceWeb(f"{url}/csw")
csw.getrecords2(constraints=[PropertyIsLike("csw:AnyText", "%roads%")], maxrecords=5)
assert csw.results["matches"] > 0
csw.getrecordbyid(id=["geor:roads"])

features = Features(f"{url}/ogc/features/v1")
assert "geor:roads" in features.feature_collections()
assert len(features.collection_items("geor:roads", limit=4)["features"]) == 4

wps = WebProcessingService(f"{url}/wps")
assert "gs:Bounds" in [process.identifier for process in wps.processes]
assert wps.describeprocess("gs:Bounds").title
execution = wps.execute("gs:Bounds", inputs=[("features", "geor:roads")], output="bounds")
# Begun in the background: only the instance that began it knows how it ended.
for _ in range(20):
    if execution.isComplete():
        break
    execution.checkStatus(sleepSecs=0)
assert execution.isSucceded(), (execution.status, execution.errors)
