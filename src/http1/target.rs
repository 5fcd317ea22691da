//! The forms of a request target (RFC 9112 section 3.2).

use super::ByteRange;
use super::host::Authority;

/// The form of a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetForm {
    /// A path, with or without a query.
    #[default]
    Origin,
    /// The `*` of `OPTIONS`.
    Asterisk,
    /// A whole http or https URL.
    Absolute {
        /// The authority that `Host` must agree with.
        authority: ByteRange,
        /// The rest: empty, a query, or a path with or without a query.
        path: ByteRange,
        /// The default port of the scheme.
        default_port: u16,
    },
}

impl TargetForm {
    /// The form of `target`; `None` if it is not supported.
    pub(super) fn of(method: &[u8], bytes: &[u8], target: ByteRange) -> Option<Self> {
        match target.of(bytes) {
            [b'/', ..] => Some(Self::Origin),
            b"*" if method == b"OPTIONS" => Some(Self::Asterisk),
            url => absolute(url, target.start),
        }
    }
}

/// Parses an absolute target; `url` begins at index `at`.
fn absolute(url: &[u8], at: usize) -> Option<TargetForm> {
    let (scheme, default_port) =
        [("http://", 80), ("https://", 443)]
            .into_iter()
            .find(|(scheme, _)| {
                url.get(..scheme.len())
                    .is_some_and(|begin| begin.eq_ignore_ascii_case(scheme.as_bytes()))
            })?;
    let rest = &url[scheme.len()..];
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(rest.len());
    Authority::parse(&rest[..end])?;
    let (authority, path) = (at + scheme.len(), at + scheme.len() + end);
    Some(TargetForm::Absolute {
        authority: ByteRange {
            start: authority,
            end: path,
        },
        path: ByteRange {
            start: path,
            end: at + url.len(),
        },
        default_port,
    })
}
