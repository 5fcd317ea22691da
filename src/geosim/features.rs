//! Feature collections of the requested length, written while they are sent. Each ends with the
//! number it contains, so that a client can distinguish a whole one from one that was cut off.

use std::fmt::Write;

use super::answer::Pieces;
use super::exception::escape;

/// A piece is sent when it is this long.
const PIECE: usize = 16 * 1024;
/// No clock: the same request has the same answer on every instance.
const TIME_STAMP: &str = "2026-01-01T00:00:00.000Z";
const INFALLIBLE: &str = "a String takes everything written to it";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    GeoJson,
    Gml2,
    Gml31,
    Gml32,
}

impl Encoding {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::GeoJson => "application/json;charset=UTF-8",
            Self::Gml2 => "text/xml; subtype=gml/2.1.2",
            Self::Gml31 => "text/xml; subtype=gml/3.1.1",
            Self::Gml32 => "application/gml+xml; version=3.2",
        }
    }

    pub(super) fn extension(self) -> &'static str {
        if self == Self::GeoJson { "json" } else { "xml" }
    }
}

/// A collection on its way out.
pub(super) struct Collection {
    workspace: String,
    layer: String,
    encoding: Encoding,
    matched: u64,
    next: u64,
    end: u64,
    returned: u64,
    lock: Option<String>,
    part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Start,
    Features,
    Over,
}

impl Collection {
    pub(super) fn new(
        name: &str,
        matched: u64,
        start: u64,
        returned: u64,
        lock: Option<String>,
        encoding: Encoding,
    ) -> Self {
        let (workspace, layer) = name.split_once(':').unwrap_or(("geor", name));
        let (workspace, layer) = (escape(workspace).into_owned(), escape(layer).into_owned());
        Self {
            workspace,
            layer,
            encoding,
            matched,
            next: start,
            end: start + returned,
            returned,
            lock,
            part: Part::Start,
        }
    }

    fn start(&self, out: &mut String) {
        let Self {
            matched, returned, ..
        } = self;
        let lock = self
            .lock
            .as_ref()
            .map(|lock| format!(" lockId=\"{lock}\""))
            .unwrap_or_default();
        match self.encoding {
            Encoding::GeoJson => out.push_str("{\"type\":\"FeatureCollection\",\"features\":["),
            Encoding::Gml2 => {
                write!(out, "{XML}<wfs:FeatureCollection xmlns:wfs=\"http://www.opengis.net/wfs\"{GML}{lock}>").expect(INFALLIBLE)
            }
            Encoding::Gml31 => write!(
                out,
                "{XML}<wfs:FeatureCollection xmlns:wfs=\"http://www.opengis.net/wfs\"{GML} numberOfFeatures=\"{returned}\" \
                 timeStamp=\"{TIME_STAMP}\"{lock}>"
            )
            .expect(INFALLIBLE),
            Encoding::Gml32 => write!(
                out,
                "{XML}<wfs:FeatureCollection xmlns:wfs=\"http://www.opengis.net/wfs/2.0\"{GML_32} numberMatched=\"{matched}\" \
                 numberReturned=\"{returned}\" timeStamp=\"{TIME_STAMP}\"{lock}>"
            )
            .expect(INFALLIBLE),
        }
    }

    fn feature(&self, number: u64, out: &mut String) {
        let Self {
            workspace, layer, ..
        } = self;
        // Somewhere on the map, the same place for the same number.
        let (x, y) = (number * 7919 % 20_000, number * 104_729 % 20_000);
        let member = if self.encoding == Encoding::Gml32 {
            "wfs:member"
        } else {
            "gml:featureMember"
        };
        if self.encoding == Encoding::GeoJson {
            let comma = if number + self.returned == self.end {
                ""
            } else {
                ","
            };
            return write!(
                out,
                "{comma}{{\"type\":\"Feature\",\"id\":\"{layer}.{number}\",\"geometry\":{{\"type\":\"Point\",\"coordinates\":[{x},{y}]}},\
                 \"geometry_name\":\"the_geom\",\"properties\":{{\"name\":\"{layer} {number}\",\"number\":{number}}}}}"
            )
            .expect(INFALLIBLE);
        }
        write!(
            out,
            "<{member}><{workspace}:{layer} xmlns:{workspace}=\"http://localhost/{workspace}\" gml:id=\"{layer}.{number}\">\
             <{workspace}:the_geom><gml:Point><gml:pos>{x} {y}</gml:pos></gml:Point></{workspace}:the_geom>\
             <{workspace}:number>{number}</{workspace}:number></{workspace}:{layer}></{member}>"
        )
        .expect(INFALLIBLE);
    }

    fn end(&self, out: &mut String) {
        let Self {
            matched, returned, ..
        } = self;
        match self.encoding {
            Encoding::GeoJson => write!(
                out,
                "],\"totalFeatures\":{matched},\"numberMatched\":{matched},\"numberReturned\":{returned},\"timeStamp\":\"{TIME_STAMP}\",\
                 \"crs\":{{\"type\":\"name\",\"properties\":{{\"name\":\"urn:ogc:def:crs:EPSG::3857\"}}}}}}"
            )
            .expect(INFALLIBLE),
            Encoding::Gml2 | Encoding::Gml31 | Encoding::Gml32 => out.push_str("</wfs:FeatureCollection>"),
        }
    }
}

const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";
const GML: &str = " xmlns:gml=\"http://www.opengis.net/gml\"";
const GML_32: &str = " xmlns:gml=\"http://www.opengis.net/gml/3.2\"";

impl Pieces for Collection {
    fn next(&mut self, out: &mut Vec<u8>) -> bool {
        let mut piece = String::with_capacity(PIECE + 1024);
        match self.part {
            Part::Over => return false,
            Part::Start => {
                self.start(&mut piece);
                self.part = Part::Features;
            }
            Part::Features => {}
        }
        while self.next < self.end && piece.len() < PIECE {
            self.feature(self.next, &mut piece);
            self.next += 1;
        }
        if self.next == self.end {
            self.end(&mut piece);
            self.part = Part::Over;
        }
        out.extend_from_slice(piece.as_bytes());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(returned: u64, encoding: Encoding) -> String {
        let mut collection = Collection::new("geor:roads", 12_000, 100, returned, None, encoding);
        let mut out = Vec::new();
        while collection.next(&mut out) {}
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn geojson_holds_as_many_features_as_its_count() {
        for returned in [0, 1, 2, 5000] {
            let json: serde_json::Value =
                serde_json::from_str(&whole(returned, Encoding::GeoJson)).unwrap();
            assert_eq!(json["numberReturned"], returned);
            assert_eq!(json["features"].as_array().unwrap().len() as u64, returned);
            assert_eq!(json["numberMatched"], 12_000);
        }
    }

    #[test]
    fn gml_is_well_formed_and_holds_as_many_features_as_its_count() {
        for encoding in [Encoding::Gml2, Encoding::Gml31, Encoding::Gml32] {
            let gml = whole(300, encoding);
            assert_eq!(gml.matches("<gml:Point>").count(), 300);
            let mut reader = quick_xml::Reader::from_str(&gml);
            while !matches!(reader.read_event().unwrap(), quick_xml::events::Event::Eof) {}
        }
    }
}
