//! The subject of a client certificate as text for a header.

use std::fmt::Write as _;

use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, RelativeDistinguishedName};

/// Maximum length of a subject as text. A longer one is not passed on.
const MAX_SUBJECT: usize = 2_048;

/// Returns the subject of a certificate in the form of RFC 4514: the most specific part first,
/// every byte outside of printable ASCII escaped, so that no subject can imitate another. `None` if
/// it is empty, unreadable or too long.
pub fn subject_of(certificate: &[u8]) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let parts: Vec<_> = parsed.subject().iter().collect();
    let mut text = String::new();
    for part in parts.into_iter().rev() {
        if !text.is_empty() {
            text.push(',');
        }
        append_part(part, &mut text)?;
        if text.len() > MAX_SUBJECT {
            return None;
        }
    }
    (!text.is_empty()).then_some(text)
}

fn append_part(part: &RelativeDistinguishedName<'_>, text: &mut String) -> Option<()> {
    for (index, attribute) in part.iter().enumerate() {
        if index > 0 {
            text.push('+');
        }
        append_attribute(attribute, text)?;
    }
    Some(())
}

fn append_attribute(attribute: &AttributeTypeAndValue<'_>, text: &mut String) -> Option<()> {
    match oid2abbrev(attribute.attr_type(), oid_registry()) {
        Ok(name) => text.push_str(name),
        Err(_) => text.push_str(&attribute.attr_type().to_id_string()),
    }
    text.push('=');
    // A value that is no text has no unambiguous form that GeoServer could compare.
    let value = attribute.as_str().ok()?;
    let last = value.len().saturating_sub(1);
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' | b'=' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b' ' if at == 0 || at == last => text.push_str("\\ "),
            b'#' if at == 0 => text.push_str("\\#"),
            0x20..=0x7e => text.push(char::from(byte)),
            _ => write!(text, "\\{byte:02X}").ok()?,
        }
    }
    Some(())
}
