"""Publishes with geoservercloud, which looks for each resource before it makes or updates it.

    publish_with_geoservercloud.py URL
"""

import sys

from geoservercloud import GeoServerCloud

SLD = """<?xml version="1.0" encoding="UTF-8"?>
<StyledLayerDescriptor version="1.0.0" xmlns="http://www.opengis.net/sld">
  <NamedLayer><Name>lakes</Name><UserStyle><FeatureTypeStyle/></UserStyle></NamedLayer>
</StyledLayerDescriptor>"""


def expect(answer, *codes):
    content, code = answer
    assert code in codes, (code, content)
    return content


geoserver = GeoServerCloud(sys.argv[1], user="admin", password="geoserver")
expect(geoserver.get_version(), 200)

expect(geoserver.create_workspace("water", set_default_workspace=True), 201)
# Once more: POST is answered by 409, and the client updates by PUT.
expect(geoserver.create_workspace("water"), 200)
assert "water" in [workspace["name"] for workspace in expect(geoserver.get_workspaces(), 200)]

store = dict(datastore_name="database", pg_host="db.example.org", pg_port=5432, pg_db="gis", pg_user="gis", pg_password="secret", pg_schema="public")
expect(geoserver.create_pg_datastore(workspace_name="water", set_default_datastore=True, **store), 201)
expect(geoserver.create_pg_datastore(workspace_name="water", **store), 200)
attributes = {"geom": {"type": "Point", "required": True}, "name": {"type": "string", "required": False}}
for code in (201, 200):
    expect(geoserver.create_feature_type("lakes", attributes=attributes, epsg=3857), code)
feature_type = expect(geoserver.get_feature_type("water", "database", "lakes"), 200)
assert feature_type["name"] == "lakes", feature_type
expect(geoserver.get_feature_types("water", "database"), 200)

for code in (201, 200):
    expect(geoserver.create_style_definition("lakes_blue", "lakes_blue.sld", workspace_name="water"), code)
expect(geoserver.create_style_from_string("lakes_blue", SLD, "water"), 200)
expect(geoserver.get_style_definition("lakes_blue", "water"), 200)
expect(geoserver.set_default_layer_style("lakes", "water", "lakes_blue"), 200)

expect(geoserver.create_layer_group("basins", "water", layers=["lakes"], title="Basins", abstract="", epsg=3857), 201)
expect(geoserver.get_layer_group("water", "basins"), 200)
expect(geoserver.delete_layer_group("water", "basins"), 200)

expect(geoserver.publish_gwc_layer("water", "lakes"), 200, 201)
expect(geoserver.create_user("ada", "secret"), 200, 201)
expect(geoserver.create_role("ROLE_WATER"), 200, 201)
expect(geoserver.assign_role_to_user("ada", "ROLE_WATER"), 200)
expect(geoserver.delete_user("ada"), 200)
