//! Bodies and content types: forms, XML, SOAP, multipart, and imitations of them.

use std::io::Write;

use flate2::write::{GzEncoder, ZlibEncoder};
use flate2::{Compression, GzBuilder};
use proptest::prelude::*;
use proptest::sample::select;

use crate::hostile::pairs;

const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=AaB03x";
const SOAP: &str = "application/soap+xml";

const CONTENT_TYPES: [&str; 22] = [
    FORM,
    MULTIPART,
    SOAP,
    "text/xml",
    "application/xml; charset=UTF-8",
    "application/json",
    "application/x-www-form-urlencoded; charset=UTF-8",
    "application/x-www-form-urlencoded; charset=UTF-16BE",
    "application/x-www-form-urlencoded;charset=\"utf-16be\"",
    "application/x-www-form-urlencoded ;x",
    "application/x-www-form-urlencodedx",
    " application/x-www-form-urlencoded",
    "Application/X-WWW-Form-URLEncoded",
    "Application/SOAP+XML",
    "application/soap+xml; action=\"x\"",
    "Multipart/Form-Data; Boundary=AaB03x",
    "multipart/form-data; boundary=\"AaB03x\"",
    "multipart/form-data; boundary=x; boundary=AaB03x",
    "multipart/form-data, x; boundary=AaB03x",
    "multipart/mixed; boundary=AaB03x",
    "multipart/form-data",
    "",
];

const ROOTS: [&str; 12] = [
    "GetFeature",
    "Transaction",
    "LockFeature",
    "GetMap",
    "StyledLayerDescriptor",
    "Execute",
    "GetCapabilities",
    "GetCoverage",
    "Harvest",
    "GetRecords",
    "Envelope",
    "Tranſaction",
];

const ATTRIBUTES: [&str; 14] = [
    " service=\"WFS\"",
    " service='WPS'",
    " service=\"WMS\"",
    " service=\"wcs\"",
    " service=\"\"",
    " service=\"W&#70;S\"",
    " xmlns:x=\"urn:x\" x:service=\"WFS\"",
    " xmlns:x=\"urn:x\" x:lockId=\"1\"",
    " lockId=\"GeoServer_1\"",
    " version=\"1.1.0\"",
    " service = \"WFS\"",
    " SERVICE=\"WFS\"",
    " a=\">\"",
    "\n",
];

const PROLOGS: [&str; 15] = [
    "",
    "",
    "",
    "<?xml version=\"1.0\"?>",
    "<?xml version='1.0' encoding='ISO-8859-1'?>\n",
    "<?xml version=\"1.0\" encoding=\"UTF-16\"?>",
    "<!-- <GetMap service=\"WMS\"/> -->",
    "<!DOCTYPE a>",
    "<!DOCTYPE a [<!ENTITY b \"c\">]>",
    "<?x <GetFeature/> ?>",
    "<?xml version=\"1.0\" encoding=\"GBK\"?>",
    "<?xml version='1.0' encoding='euc-kr'?><!-- \u{e9}--><GetFeature service=\"WFS\"/><?x -->",
    "<?xml version='1.0' encoding='Big5'?><!-- \u{e9} -->",
    "text",
    "\u{feff}",
];

const INSIDES: [&str; 26] = [
    "",
    "<Output store=\"tru&#101;\"/>",
    "<Output store=\" true\"/>",
    "<Output store=\"false\"/>",
    "<s:Body xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"><Transaction service=\"WFS\"/></s:Body>",
    "<Query typeName=\"a\"/>",
    "<Output store=\"true\"/>",
    "<Output store = 'true' />",
    "<a><b/></a><!-- c -->",
    "<Identifier>gs:Buffer</Identifier>",
    "<Identifier>gs:Import</Identifier>",
    "<x:Identifier xmlns:x=\"urn:x\"> gs:Import\n</x:Identifier>",
    "<Identifier>gs:Im<!-- -->port</Identifier>",
    "<Identifier>gs:&#73;mport</Identifier>",
    "<Identifier><![CDATA[gs:Import]]></Identifier>",
    "<Identifier>gs:Im<?x y?>port</Identifier>",
    "<Identifier>gs:Buffer</Identifier><Input><Reference href=\"http://geoserver/wps\"><Body><Execute><Identifier>gs:Import</Identifier></Execute></Body></Reference></Input>",
    "<Identifier>gs:Buffer</Identifier><Input><Reference href=\"http://geoserver/wps?identifier=gs:Import\"/></Input>",
    "<Identifier>gs:Buffer</Identifier><Input><Reference href=\"http://geoserver/w&#112;s?identifier=gs:%49mport\"/></Input>",
    "<Identifier>gs:Buffer</Identifier><Input><Identifier>gs:Import</Identifier></Input>",
    "<Identifier>gs:Buffer</Identifier><Input><Reference href=\"http://geoserver/wps\"><Body><Execute><Identifier>gs:Download</Identifier></Execute></Body></Reference></Input>",
    "<Identifier>gs:Buffer</Identifier><ResponseForm><ResponseDocument storeExecuteResponse=\"true\" status=\"true\"/></ResponseForm>",
    "<Identifier>gs:Buffer</Identifier><ResponseForm><ResponseDocument status=\"&#49;\"/></ResponseForm>",
    "<Identifier>gs:Buffer</Identifier><ResponseForm><ResponseDocument><Output asReference=\" true \"/></ResponseDocument></ResponseForm>",
    "<Identifier>gs:Buffer</Identifier><ResponseForm><RawDataOutput/></ResponseForm>",
    "<Identifier>gs:Download</Identifier>",
];

const DISPOSITIONS: [&str; 15] = [
    "form-data; name=\"request\"",
    "form-data; name=\"service\"",
    "form-data; name=request",
    "form-data; name=\"body\"",
    "form-data; name=\"f\"; filename=\"a.xml\"",
    "form-data; filename=\"a.xml\"; name=\"request\"",
    "form-data; name=\"x\"; name=\"request\"",
    "form-data; name=\"x\"; name*=utf-8''request",
    "form-data; name=\"=?us-ascii?Q?request?=\"",
    "form-data; name=\"=?us-ascii?Q?service?=\"",
    "form-data;\r\n name=\"request\"",
    "form-data; name=\"x\"\r\n ;filename=\"a:b\"",
    "form-data; name=\"REQUEST\"",
    "form-data; name=\"lockId\"",
    "attachment; name=\"request\"",
];

const MORE_PART_HEADERS: [&str; 6] = [
    "",
    "",
    "\r\nContent-Type: text/xml",
    "\r\nContent-Type: text/plain; charset=UTF-16BE",
    "\r\nContent-Type: multipart/mixed; boundary=b",
    "\r\nContent-Transfer-Encoding: base64",
];

const FIELD_VALUES: [&str; 6] = [
    "WFS",
    "WMS",
    "GetFeature",
    "Transaction",
    "GetMap",
    " Transaction ",
];

/// The compression of a body, and its Content-Encoding.
const CODINGS: [(Packing, Option<&str>); 10] = [
    (Packing::None, None),
    (Packing::None, None),
    (Packing::None, None),
    (Packing::None, None),
    (Packing::None, Some("gzip")),
    (Packing::None, Some("identity")),
    (Packing::Gzip, Some("gzip")),
    (Packing::Gzip, Some(" X-GZIP")),
    (Packing::Stored, Some("gzip")),
    (Packing::Zlib, Some("deflate")),
];

#[derive(Clone, Copy, Debug)]
enum Packing {
    None,
    Gzip,
    /// Stored without compression, so that its text is readable, behind a name that is readable
    /// too.
    Stored,
    Zlib,
}

impl Packing {
    fn pack(self, text: Vec<u8>) -> Vec<u8> {
        let name = "&service=WFS&request=Transaction&x=";
        let finished = match self {
            Self::None => return text,
            Self::Gzip => {
                let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
                packed.write_all(&text).and_then(|()| packed.finish())
            }
            Self::Stored => {
                let mut packed = GzBuilder::new()
                    .filename(name)
                    .write(Vec::new(), Compression::none());
                packed.write_all(&text).and_then(|()| packed.finish())
            }
            Self::Zlib => {
                let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
                packed.write_all(&text).and_then(|()| packed.finish())
            }
        };
        finished.expect("memory takes all")
    }
}

/// Content type, content encoding and body, which belong together most of the time.
pub(crate) fn body() -> impl Strategy<Value = (Option<String>, Option<String>, Vec<u8>)> {
    let form = prop_oneof![
        6 => pairs(),
        1 => pairs().prop_map(|pairs| wide(&pairs)),
        1 => (padding(), pairs()).prop_map(|(padding, pairs)| [b"x=".to_vec(), padding, b"&".to_vec(), pairs].concat()),
    ];
    let matched = prop_oneof![
        3 => (Just(FORM), form),
        4 => (select(&["text/xml", "application/xml", ""][..]), document()),
        2 => (Just(SOAP), envelope()),
        2 => (Just(MULTIPART), multipart()),
        2 => (Just(FORM), Just(Vec::new())),
        1 => (Just("text/xml"), prop::collection::vec(any::<u8>(), 0..40)),
    ];
    let other = prop_oneof![5 => Just(None), 2 => select(&CONTENT_TYPES[..]).prop_map(Some)];
    (matched, other, select(&CODINGS[..])).prop_map(
        |((content_type, body), other, (packing, coding))| {
            let content_type = other.unwrap_or(content_type);
            (
                (!content_type.is_empty()).then(|| content_type.to_owned()),
                coding.map(str::to_owned),
                packing.pack(body),
            )
        },
    )
}

/// UTF-16, each byte escaped.
fn wide(pairs: &[u8]) -> Vec<u8> {
    let escape = |byte: &u8| {
        if matches!(byte, b'&' | b'=') {
            vec![*byte]
        } else {
            format!("%00%{byte:02x}").into_bytes()
        }
    };
    pairs.iter().flat_map(escape).collect()
}

/// Lengths around the bound within which a root is searched, and beyond.
fn padding() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![6 => Just(0), 2 => 8000..8200_usize, 1 => Just(9000), 1 => Just(70_000)]
        .prop_map(|length| vec![b'x'; length])
}

fn element() -> impl Strategy<Value = String> {
    let attributes = prop::collection::vec(select(&ATTRIBUTES[..]), 0..3)
        .prop_map(|attributes| attributes.concat());
    let prefix = select(&["", "", "wfs:", "x:"][..]);
    let long = prop_oneof![9 => Just(Vec::new()), 1 => padding()];
    let inside = (long, select(&INSIDES[..]))
        .prop_map(|(long, inside)| String::from_utf8_lossy(&long).into_owned() + inside);
    (prefix, select(&ROOTS[..]), attributes, inside).prop_map(
        |(prefix, name, attributes, inside)| {
            let namespace = prefix.trim_end_matches(':');
            let declared = if namespace.is_empty() || attributes.contains("xmlns:x") {
                String::new()
            } else {
                format!(" xmlns:{namespace}=\"urn:{namespace}\"")
            };
            format!("<{prefix}{name}{declared}{attributes}>{inside}</{prefix}{name}>")
        },
    )
}

fn document() -> impl Strategy<Value = Vec<u8>> {
    let comment = padding().prop_map(|padding| {
        if padding.is_empty() {
            Vec::new()
        } else {
            [b"<!--".to_vec(), padding, b"-->".to_vec()].concat()
        }
    });
    let utf16 = prop_oneof![20 => Just(false), 1 => Just(true)];
    (select(&PROLOGS[..]), comment, element(), utf16).prop_map(
        |(prolog, comment, element, utf16)| {
            let text = [prolog.as_bytes(), &comment, element.as_bytes()].concat();
            if utf16 {
                text.iter().flat_map(|&byte| [byte, 0]).collect()
            } else {
                text
            }
        },
    )
}

fn envelope() -> impl Strategy<Value = Vec<u8>> {
    let namespaces = [
        "http://www.w3.org/2003/05/soap-envelope",
        "http://schemas.xmlsoap.org/soap/envelope/",
        "urn:other",
    ];
    let header = select(
        &[
            "",
            "<e:Header/>",
            "<e:Header><GetMap/></e:Header>",
            "<e:Header><e:Body><GetMap/></e:Body></e:Header>",
        ][..],
    );
    let behind = select(
        &[
            "",
            "<e:Body><GetMap service=\"WMS\"/></e:Body>",
            "<Transaction/>",
            "<s:Body xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"><Transaction service=\"WFS\"/></s:Body>",
            "<s:Body xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><Transaction service=\"WFS\"/></s:Body>",
        ][..],
    );
    let end = select(&["</e:Envelope>", "</e:Envelope>", ""][..]);
    let parts = (
        select(&PROLOGS[..]),
        select(namespaces.to_vec()),
        header,
        element(),
        padding(),
        behind,
        end,
    );
    parts.prop_map(
        |(prolog, namespace, header, element, padding, behind, end)| {
            let padding = String::from_utf8_lossy(&padding).into_owned();
            let body = format!("<e:Body> {element}{padding}</e:Body>");
            format!("{prolog}<e:Envelope xmlns:e=\"{namespace}\">{header}{body}{behind}{end}")
                .into_bytes()
        },
    )
}

fn multipart() -> impl Strategy<Value = Vec<u8>> {
    let content = prop_oneof![
        3 => select(&FIELD_VALUES[..]).prop_map(|value| value.as_bytes().to_vec()),
        2 => element().prop_map(String::into_bytes),
        1 => select(&FIELD_VALUES[..])
            .prop_map(|value| value.bytes().flat_map(|byte| [0, byte]).collect()),
    ];
    let line = prop_oneof![12 => Just("\r\n"), 1 => Just("\n")];
    let part = (
        select(&DISPOSITIONS[..]),
        select(&MORE_PART_HEADERS[..]),
        content,
        line,
    );
    let edges = (
        select(&["", "", "", "preamble\r\n"][..]),
        select(&["--\r\n", "--", "", "--\r\nmore"][..]),
    );
    (prop::collection::vec(part, 0..4), edges).prop_map(|(parts, (before, behind))| {
        let mut body = before.as_bytes().to_vec();
        for (disposition, more, content, line) in parts {
            let head =
                format!("--AaB03x{line}Content-Disposition: {disposition}{more}{line}{line}");
            body.extend_from_slice(head.as_bytes());
            body.extend(content);
            body.extend_from_slice(line.as_bytes());
        }
        body.extend_from_slice(b"--AaB03x");
        body.extend_from_slice(behind.as_bytes());
        body
    })
}
