//! The requests, and the answers that a GeoServer gives when it knows its catalog. Every answer is
//! checked.

use geofront::geosim::PUBLIC_LAYER;
use http::{Method, StatusCode};

use super::client::{Answer, Failure};

/// One of the reads that a portal's clients make.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) body: &'static str,
    expected: Expected,
}

#[derive(Clone, Debug)]
enum Expected {
    /// A PNG that decodes.
    Image,
    Tiff,
    /// These layers are in it.
    Capabilities(Vec<String>),
    /// GeoJSON with so many features.
    Features(usize),
    /// GML with so many members.
    Members(usize),
    /// This is in it.
    Text(String),
}

/// The fault of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// An exception, for something that is there.
    Exception,
    /// 404, or GeoWebCache's 400, for something that is there.
    NotFound,
    /// Capabilities without a layer that is there.
    LayerMissing,
    /// Fewer features than there are, or none that can be read.
    Incomplete,
    NoImage,
    /// The answer came from a catalog older than a change that has long reached every replica.
    Stale,
    /// Refused in front of GeoServer, by the status.
    Refused(u16),
    /// GeoServer broke.
    Broke(u16),
    Failed(Failure),
}

impl Fault {
    /// True for a wrong answer that looks like a right one; all others are errors that a client
    /// sees.
    pub(crate) fn is_wrong_answer(self) -> bool {
        match self {
            Self::Exception
            | Self::NotFound
            | Self::LayerMissing
            | Self::Incomplete
            | Self::NoImage
            | Self::Stale => true,
            Self::Refused(_) | Self::Broke(_) | Self::Failed(_) => false,
        }
    }
}

fn get(target: impl Into<String>, expected: Expected) -> Read {
    Read {
        method: Method::GET,
        target: target.into(),
        body: "",
        expected,
    }
}

const POSTED: &str = "<wfs:GetFeature service=\"WFS\" version=\"2.0.0\" count=\"20\" xmlns:wfs=\"http://www.opengis.net/wfs/2.0\">\
    <wfs:Query typeNames=\"geor:municipalities\"/></wfs:GetFeature>";

/// Reads of every class, about layers that were always there.
pub(crate) fn standing() -> Vec<Read> {
    let here = |names: &[&str]| {
        Expected::Capabilities(names.iter().map(|name| (*name).to_owned()).collect())
    };
    let vectors = here(&[PUBLIC_LAYER, "geor:roads", "nature:forests", "urban:zoning"]);
    vec![
        get(tile("geor:roads"), Expected::Image),
        get(
            "/geoserver/gwc/service/tms/1.0.0/nature:parks@EPSG:900913@png/4/8/9.png",
            Expected::Image,
        ),
        get(map("/wms", "geor:municipalities"), Expected::Image),
        get(map("/nature/wms", "forests"), Expected::Image),
        get(map("/urban/zoning/wms", "zoning"), Expected::Image),
        get(info("geor:rivers"), Expected::Features(1)),
        get(
            "/geoserver/wms?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetLegendGraphic&LAYER=nature:soils&FORMAT=image/png",
            Expected::Image,
        ),
        get(
            "/geoserver/wfs?SERVICE=WFS&VERSION=2.0.0&REQUEST=DescribeFeatureType&TYPENAMES=urban:parcels",
            Expected::Text("parcelsType".to_owned()),
        ),
        get(
            "/geoserver/ows?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetCapabilities",
            vectors.clone(),
        ),
        get(
            "/geoserver/ows?SERVICE=WFS&VERSION=2.0.0&REQUEST=GetCapabilities",
            vectors.clone(),
        ),
        get(
            "/geoserver/gwc/service/wmts?SERVICE=WMTS&VERSION=1.0.0&REQUEST=GetCapabilities",
            vectors,
        ),
        get(
            "/geoserver/wcs?SERVICE=WCS&VERSION=2.0.1&REQUEST=GetCapabilities",
            here(&["nature__orthophoto"]),
        ),
        get(features("geor:municipalities"), Expected::Features(40)),
        get(
            "/geoserver/ogc/features/v1/collections/geor:roads/items?limit=5",
            Expected::Features(5),
        ),
        get(
            "/geoserver/styles/default.css",
            Expected::Text("body".to_owned()),
        ),
        Read {
            method: Method::POST,
            target: "/geoserver/wfs".to_owned(),
            body: POSTED,
            expected: Expected::Members(20),
        },
        get(
            "/geoserver/wcs?SERVICE=WCS&VERSION=2.0.1&REQUEST=GetCoverage&COVERAGEID=nature__orthophoto&FORMAT=image/tiff",
            Expected::Tiff,
        ),
    ]
}

/// Reads of a layer that has been published, ten features strong.
pub(crate) fn of_new(layer: &str) -> Vec<Read> {
    vec![
        get(map("/wms", layer), Expected::Image),
        get(
            "/geoserver/ows?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetCapabilities",
            Expected::Capabilities(vec![PUBLIC_LAYER.to_owned(), layer.to_owned()]),
        ),
        get(features(layer), Expected::Features(10)),
        get(tile(layer), Expected::Image),
    ]
}

/// A request that is answered when the front door is up.
pub(crate) fn first_target() -> String {
    map("/wms", PUBLIC_LAYER)
}

fn map(service: &str, layer: &str) -> String {
    format!(
        "/geoserver{service}?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetMap&LAYERS={layer}&STYLES=&FORMAT=image/png&CRS=EPSG:3857\
         &BBOX=-626172,5009377,0,5635549&WIDTH=256&HEIGHT=256"
    )
}

fn tile(layer: &str) -> String {
    format!(
        "/geoserver/gwc/service/wmts?SERVICE=WMTS&VERSION=1.0.0&REQUEST=GetTile&LAYER={layer}&STYLE=&TILEMATRIXSET=EPSG:900913\
         &TILEMATRIX=EPSG:900913:4&TILEROW=5&TILECOL=8&FORMAT=image/png"
    )
}

fn info(layer: &str) -> String {
    format!(
        "/geoserver/wms?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetFeatureInfo&LAYERS={layer}&QUERY_LAYERS={layer}&SRS=EPSG:3857\
         &BBOX=-626172,5009377,0,5635549&WIDTH=101&HEIGHT=101&X=50&Y=50&INFO_FORMAT=application/json"
    )
}

fn features(layer: &str) -> String {
    format!(
        "/geoserver/wfs?SERVICE=WFS&VERSION=2.0.0&REQUEST=GetFeature&TYPENAMES={layer}&COUNT=40&OUTPUTFORMAT=application/json"
    )
}

impl Read {
    /// The fault of `answer`, if it has one. An epoch below `oldest` is one.
    pub(crate) fn judge(&self, answer: &Result<Answer, Failure>, oldest: u64) -> Result<(), Fault> {
        let answer = answer.as_ref().map_err(|failure| Fault::Failed(*failure))?;
        if answer.header("x-geosim").is_empty() {
            return Err(Fault::Refused(answer.status.as_u16()));
        }
        let text = String::from_utf8_lossy(&answer.body);
        match answer.status {
            StatusCode::OK => {}
            status if status.is_server_error() => return Err(Fault::Broke(status.as_u16())),
            _ if text.contains("FeatureType") => return Err(Fault::Exception),
            _ => return Err(Fault::NotFound),
        }
        if text.contains("ExceptionReport") {
            return Err(Fault::Exception);
        }
        self.look_at(answer, &text)?;
        if answer
            .header("x-geosim-epoch")
            .parse()
            .is_ok_and(|epoch: u64| epoch < oldest)
        {
            return Err(Fault::Stale);
        }
        Ok(())
    }

    fn look_at(&self, answer: &Answer, text: &str) -> Result<(), Fault> {
        let or = |is_right: bool, fault| if is_right { Ok(()) } else { Err(fault) };
        match &self.expected {
            Expected::Image => or(is_picture(&answer.body), Fault::NoImage),
            Expected::Tiff => or(
                answer.body.starts_with(b"II*\0") && answer.body.len() > 128 * 128,
                Fault::NoImage,
            ),
            Expected::Capabilities(layers) => or(
                layers
                    .iter()
                    .all(|layer| text.contains(&format!(">{layer}<"))),
                Fault::LayerMissing,
            ),
            Expected::Features(count) => or(
                count_features(&answer.body) == Some(*count),
                Fault::Incomplete,
            ),
            Expected::Members(count) => or(
                text.ends_with("</wfs:FeatureCollection>")
                    && text.matches("<wfs:member>").count() == *count,
                Fault::Incomplete,
            ),
            Expected::Text(part) => or(text.contains(part), Fault::Incomplete),
        }
    }
}

/// Returns the number of features, if it is the number that the document states.
fn count_features(body: &[u8]) -> Option<usize> {
    let json: serde_json::Value = serde_json::from_slice(body).ok()?;
    let count = json["features"].as_array()?.len();
    (json["numberReturned"].as_u64()? == count as u64).then_some(count)
}

fn is_picture(body: &[u8]) -> bool {
    let Ok(mut reader) = png::Decoder::new(std::io::Cursor::new(body)).read_info() else {
        return false;
    };
    let mut pixels = vec![0; reader.output_buffer_size().unwrap_or(0)];
    reader.next_frame(&mut pixels).is_ok()
}
