//! The extent to which bodies are read and trusted.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

const MAX: usize = 100_000;
const FORM: Option<&str> = Some("application/x-www-form-urlencoded");
const XML: Option<&str> = Some("text/xml");
const SOAP: Option<&str> = Some("application/soap+xml");

fn packed(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// The number of bytes of `body` that are read if it arrives in pieces of `size` bytes.
fn read_of(body: &[u8], size: usize, mut reader: BodyReader) -> usize {
    let mut end = 0;
    while end < body.len() {
        end = (end + size).min(body.len());
        if !reader.wants_more(&body[..end]) {
            break;
        }
    }
    end
}

#[test]
fn a_form_is_read_to_its_end_and_believed_only_then() {
    let form = [
        b"a=".to_vec(),
        vec![b'x'; 50_000],
        b"&request=Transaction".to_vec(),
    ]
    .concat();
    let reader = BodyReader::new(FORM, None, MAX);
    assert_eq!(read_of(&form, 1_000, reader), form.len());
    assert_eq!(reader.evidence(&form, true).as_deref(), Some(&form[..]));
    assert_eq!(reader.evidence(&form[..49_000], false), None);
}

#[test]
fn a_form_beyond_the_bound_is_neither_read_further_nor_believed() {
    let form = vec![b'x'; MAX + 5_000];
    let reader = BodyReader::new(FORM, None, MAX);
    assert_eq!(read_of(&form, 1_000, reader), MAX + 1_000);
    assert_eq!(reader.evidence(&form, true), None);
}

#[test]
fn an_xml_body_is_read_until_its_root_is_seen() {
    let comment = "x".repeat(3_000);
    let text = format!(
        "<!--{comment}--><GetFeature service=\"WFS\"><Query/>{}",
        " ".repeat(20_000)
    );
    let root = text.find("<Query").unwrap();
    for size in [1_usize, 7, 100] {
        let read = read_of(text.as_bytes(), size, BodyReader::new(XML, None, MAX));
        // A body that arrives in tiny pieces is searched a few times only.
        let most = if size < 100 {
            BODY_PREFIX + size
        } else {
            root + size
        };
        assert!((root..=most).contains(&read), "pieces of {size}: {read}");
    }
}

#[test]
fn a_body_without_a_root_is_read_to_geoservers_lookahead() {
    for text in [
        vec![b'x'; 50_000],
        [b"<!--".to_vec(), vec![b'x'; 50_000]].concat(),
    ] {
        assert_eq!(
            read_of(&text, 1_000, BodyReader::new(XML, None, MAX)),
            BODY_PREFIX.div_ceil(1_000) * 1_000
        );
    }
}

#[test]
fn a_document_that_may_decide_at_its_end_is_read_to_its_end() {
    let coverage = format!(
        "<GetCoverage service=\"WCS\"><a>{}</a></GetCoverage>",
        "x".repeat(30_000)
    )
    .into_bytes();
    let envelope = format!("<Envelope><Body/>{}</Envelope>", "x".repeat(30_000)).into_bytes();
    for (content_type, text) in [(XML, coverage), (SOAP, envelope)] {
        let reader = BodyReader::new(content_type, None, MAX);
        assert_eq!(read_of(&text, 999, reader), text.len());
        assert_eq!(
            reader.evidence(&text, true).map(|evidence| evidence.len()),
            Some(text.len())
        );
        assert_eq!(
            reader
                .evidence(&text[..20_000], false)
                .map(|evidence| evidence.len()),
            Some(BODY_PREFIX)
        );
    }
}

#[test]
fn a_compressed_document_is_unpacked_up_to_its_root() {
    let text = [
        b"<GetFeature service=\"WFS\">".to_vec(),
        vec![b' '; 5_000_000],
    ]
    .concat();
    let body = packed(&text);
    assert!(body.len() < 10_000);
    let reader = BodyReader::new(XML, Some("gzip"), MAX);
    assert_eq!(
        reader.evidence(&body, true).as_deref(),
        Some(&text[..BODY_PREFIX]),
        "and never further"
    );
    let small = packed(b"<GetFeature service=\"WFS\"/>");
    assert_eq!(
        reader.evidence(&small, true).as_deref(),
        Some(&b"<GetFeature service=\"WFS\"/>"[..])
    );
}

#[test]
fn a_packed_flood_is_unpacked_to_the_bound_only() {
    let flood = [
        b"<GetCoverage service=\"WCS\"><a>".to_vec(),
        vec![b'x'; 20_000_000],
    ]
    .concat();
    let body = packed(&flood);
    assert!(body.len() < MAX);
    let reader = BodyReader::new(XML, Some("gzip"), MAX);
    assert_eq!(
        reader.evidence(&body, true).map(|evidence| evidence.len()),
        Some(BODY_PREFIX)
    );
    assert_eq!(unpacked(&*body, MAX).0.len(), MAX);
}

#[test]
fn a_packed_form_and_a_packing_that_is_not_known_are_not_believed() {
    let form = packed(b"service=WMS&request=GetMap");
    assert_eq!(
        BodyReader::new(FORM, Some("gzip"), MAX).evidence(&form, true),
        None
    );
    for coding in ["br", "deflate", "gzip, gzip", "\u{fffd}"] {
        assert_eq!(
            BodyReader::new(XML, Some(coding), MAX).evidence(b"<GetFeature/>", true),
            None,
            "{coding}"
        );
    }
    for coding in [Some("identity"), Some(""), Some(" Identity "), None] {
        assert!(
            BodyReader::new(FORM, coding, MAX)
                .evidence(b"a=b", true)
                .is_some(),
            "{coding:?}"
        );
    }
}

#[test]
fn a_body_that_only_claims_to_be_compressed_is_read_as_plain_text() {
    let reader = BodyReader::new(XML, Some("gzip"), MAX);
    assert_eq!(
        reader.evidence(b"<Transaction/>", true).as_deref(),
        Some(&b"<Transaction/>"[..])
    );
}

#[test]
fn a_corrupt_compressed_body_is_understood_alike_whole_and_in_pieces() {
    let text = "<wfs:GetFeature service=\"WFS\"><wfs:Query typeNames=\"a\"/></wfs:GetFeature>";
    let good = packed(text.as_bytes());
    let mut seen = 0;
    for at in 10..good.len() {
        for byte in [0x00, 0x2f, 0xff] {
            let mut body = good.clone();
            body[at..].fill(byte);
            let whole = BodyReader::new(XML, Some("gzip"), MAX)
                .evidence(&body, true)
                .unwrap();
            let root = |text: &[u8]| xml::root(text).map(|root| format!("{:?}", root.name));
            for size in [1, 7, 39] {
                let mut reader = BodyReader::new(XML, Some("gzip"), MAX);
                let mut end = 0;
                while end < body.len() {
                    end = (end + size).min(body.len());
                    if !reader.wants_more(&body[..end]) {
                        break;
                    }
                }
                let read = reader.evidence(&body[..end], end == body.len()).unwrap();
                assert_eq!(
                    root(&read),
                    root(&whole),
                    "{byte} from {at} on, pieces of {size}"
                );
            }
            seen += u32::from(root(&whole).is_some());
        }
    }
    assert!(seen > 20, "the root is before many of the faults: {seen}");
}
