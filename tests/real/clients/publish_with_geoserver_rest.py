"""Publishes with geoserver-rest as a script of a GIS department does: a workspace, a store, a
layer, an uploaded raster and shapefile, styles, a group; then changes and removes them.

    publish_with_geoserver_rest.py URL FOLDER
"""

import pathlib
import sys

from geo.Geoserver import Geoserver, GeoserverException

SLD = """<?xml version="1.0" encoding="UTF-8"?>
<StyledLayerDescriptor version="1.0.0" xmlns="http://www.opengis.net/sld">
  <NamedLayer><Name>lanes</Name><UserStyle><FeatureTypeStyle/></UserStyle></NamedLayer>
</StyledLayerDescriptor>"""

url, folder = sys.argv[1], pathlib.Path(sys.argv[2])
geo = Geoserver(url, username="admin", password="geoserver")

assert "GeoServer" in str(geo.get_version())
geo.get_manifest()
geo.get_status()
geo.get_system_status()

geo.create_workspace("town")
assert "town" in [workspace["name"] for workspace in geo.get_workspaces()["workspaces"]["workspace"]]
assert geo.get_workspace("town")["workspace"]["name"] == "town"
geo.set_default_workspace("town")

geo.create_featurestore("database", workspace="town", db="gis", host="db.example.org")
assert geo.get_featurestore("database", "town")["name"] == "database"
geo.publish_featurestore("database", "lanes", workspace="town", keywords=["lanes"])
assert geo.get_featuretypes("town", "database") == ["lanes"]
assert "the_geom" in geo.get_feature_attribute("lanes", "town", "database")
geo.edit_featuretype("database", "town", "lanes", "lanes", "Lanes of the town")
geo.update_service("wms", enabled="true")

geo.upload_style(SLD, name="lanes_red", workspace="town")
geo.upload_style(SLD, name="lanes_blue")
geo.publish_style("lanes", "lanes_blue", "town")
layer = geo.get_layer("lanes", "town")["layer"]
assert layer["defaultStyle"]["name"] == "lanes_blue", layer

raster = folder / "relief.tif"
raster.write_bytes(b"II*\0" + bytes(4096))
geo.create_coveragestore(str(raster), workspace="town")
assert geo.get_coveragestore("relief", "town")["coverageStore"]["name"] == "relief"

package = folder / "paths.zip"
package.write_bytes(b"PK\5\6" + bytes(18))
geo.create_shp_datastore(str(package), workspace="town")
assert geo.get_datastore("paths", "town")["dataStore"]["name"] == "paths"

geo.create_layergroup(name="base", layers=["lanes", "relief"], workspace="town")
geo.add_layer_to_layergroup("paths", "town", "base", layergroup_workspace="town")
published = geo.get_layergroup("base", "town")["layerGroup"]["publishables"]["published"]
assert [entry["name"] for entry in published] == ["town:lanes", "town:relief", "town:paths"], published

# What was made is removed in the opposite order, and what the rest of the test looks for remains.
geo.delete_layergroup("base", "town")
geo.delete_layer("paths", "town")
geo.delete_featurestore("paths", "town")
geo.delete_coveragestore("relief", "town")
geo.delete_style("lanes_red", "town")
try:
    geo.get_style("lanes_red", "town")
except GeoserverException:
    pass
else:
    raise AssertionError("the style is still there")
