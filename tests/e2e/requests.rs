//! The requests that clients send.

/// A map of the layer that every GeoServer of geOrchestra has.
pub(crate) const MAP: &str = "/geoserver/wms?service=WMS&version=1.1.1&request=GetMap&layers=geor:public_layer&styles=&format=image/png\
                       &srs=EPSG:4326&bbox=-180,-90,180,90&width=64&height=32";
pub(crate) const MAP_130: &str = "/geoserver/wms?service=WMS&version=1.3.0&request=GetMap&layers=geor:public_layer&styles=\
                           &format=image/png&crs=EPSG:4326&bbox=-90,-180,90,180&width=64&height=32";
pub(crate) const CAPABILITIES: &str =
    "/geoserver/wms?service=WMS&version=1.3.0&request=GetCapabilities";
pub(crate) const FEATURES: &str = "/geoserver/wfs?service=WFS&version=2.0.0&request=GetFeature&typeNames=geor:public_layer\
                            &outputFormat=application/json&count=200";
/// A tile of the tile cache.
pub(crate) const TILE: &str = "/geoserver/gwc/service/wmts?service=WMTS&version=1.0.0&request=GetTile&layer=geor:public_layer&style=\
                        &tilematrixset=EPSG:900913&tilematrix=EPSG:900913:2&tilerow=1&tilecol=1&format=image/png";
pub(crate) const WFS: &str = "/geoserver/wfs";
pub(crate) const XML: &str = "text/xml";

/// A change of data.
pub(crate) const TRANSACTION: &[u8] =
    br#"<wfs:Transaction service="WFS" version="1.1.0" xmlns:wfs="http://www.opengis.net/wfs">
<wfs:Insert/></wfs:Transaction>"#;

/// A read by POST: the layer in XML, padded to `size` bytes by a comment behind the root element's
/// start tag.
pub(crate) fn get_feature_of_size(size: usize) -> Vec<u8> {
    let start = r#"<wfs:GetFeature service="WFS" version="1.1.0" xmlns:wfs="http://www.opengis.net/wfs"><!--"#;
    let end = r#"--><wfs:Query typeName="geor:public_layer"/></wfs:GetFeature>"#;
    let padding = "x".repeat(size.saturating_sub(start.len() + end.len()));
    format!("{start}{padding}{end}").into_bytes()
}
