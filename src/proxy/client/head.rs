//! A request's head in the form that the classifier and the limits read.

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use pingora::http::RequestHeader;

use crate::ogc::{BodyReader, RequestHead, UNREADABLE_CONTENT_TYPE};

/// The part of the head that decides the class.
pub(in crate::proxy) fn head(request: &RequestHeader) -> RequestHead<'_> {
    RequestHead {
        method: request.method.as_str(),
        target: request.raw_path(),
        content_type: content_type(request),
    }
}

/// Returns the reader of the body. It reads at most `most` bytes of a body that has to be read to
/// its end.
pub(in crate::proxy) fn body_reader(request: &RequestHeader, most: usize) -> BodyReader {
    BodyReader::new(content_type(request), only(request, CONTENT_ENCODING), most)
}

fn content_type(request: &RequestHeader) -> Option<&str> {
    only(request, CONTENT_TYPE)
}

/// Servers differ about several headers of one name, and about one that is no plain text.
fn only(request: &RequestHeader, name: HeaderName) -> Option<&str> {
    let mut lines = request.headers.get_all(name).iter();
    let first = lines.next()?;
    let only = if lines.next().is_none() {
        first.to_str().ok()
    } else {
        None
    };
    Some(only.unwrap_or(UNREADABLE_CONTENT_TYPE))
}

pub(in crate::proxy) fn content_length(request: &RequestHeader) -> Option<u64> {
    request
        .headers
        .get(CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ogc::{RequestClass, classify};

    /// A form to a server that takes it for one, and an XML document to all others.
    const BODY: &[u8] = b"<GetFeature service=\"WFS\"/>&service=WFS&request=Transaction";

    fn class(content_types: &[&[u8]]) -> RequestClass {
        let mut request = RequestHeader::build("POST", b"/geoserver/wfs", None).unwrap();
        for content_type in content_types {
            request
                .append_header(
                    CONTENT_TYPE,
                    http::HeaderValue::from_bytes(content_type).unwrap(),
                )
                .unwrap();
        }
        classify(&head(&request), "/geoserver", Some(BODY)).class
    }

    #[test]
    fn a_body_whose_content_type_is_not_the_same_to_all_is_not_believed_to_be_harmless() {
        assert_eq!(class(&[b"text/xml"]), RequestClass::Feature);
        assert_eq!(
            class(&[b"application/x-www-form-urlencoded; x=\xe9"]),
            RequestClass::Unknown
        );
        assert_eq!(
            class(&[b"text/xml", b"application/x-www-form-urlencoded"]),
            RequestClass::Unknown
        );
    }
}
