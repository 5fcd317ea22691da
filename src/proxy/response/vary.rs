//! `Vary`: the request headers that an answer depends on.

use http::header::VARY;
use pingora::Result;
use pingora::http::ResponseHeader;

/// Names a request header that the answer depends on, unless it is named already.
pub(super) fn vary_by(response: &mut ResponseHeader, header: &'static str) -> Result<()> {
    let lines = response.headers.get_all(VARY).iter();
    let is_named = lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .any(|name| name == b"*" || name.eq_ignore_ascii_case(header.as_bytes()));
    if !is_named {
        response.append_header(VARY, header)?;
    }
    Ok(())
}
