//! `Max-Forwards` (RFC 9110 section 7.6.2): how many more servers an `OPTIONS` request may pass.
//! Each one counts it down, and the one that gets 0 answers. `TRACE`, which has it too, is refused.

use http::Method;
use pingora::Result;
use pingora::http::RequestHeader;

const MAX_FORWARDS: &str = "Max-Forwards";

/// True if the request must not be passed on.
pub(in crate::proxy) fn is_exhausted(request: &RequestHeader) -> bool {
    remaining(request) == Some(0)
}

/// Counts this server; a value that is no number is removed.
pub(in crate::proxy) fn count_down(request: &mut RequestHeader) -> Result<()> {
    if request.method != Method::OPTIONS || !request.headers.contains_key(MAX_FORWARDS) {
        return Ok(());
    }
    let remaining = remaining(request);
    request.remove_header(MAX_FORWARDS);
    match remaining {
        Some(remaining) => {
            request.insert_header(MAX_FORWARDS, remaining.saturating_sub(1).to_string())
        }
        None => Ok(()),
    }
}

/// The smallest of the numbers, if the request has one.
fn remaining(request: &RequestHeader) -> Option<u64> {
    if request.method != Method::OPTIONS {
        return None;
    }
    let numbers = request.headers.get_all(MAX_FORWARDS).iter();
    numbers
        .filter_map(|value| {
            let digits = value.to_str().ok()?;
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            // A number that is too large is as good as the largest.
            is_number.then(|| digits.parse().unwrap_or(u64::MAX))
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(method: &str, values: &[&str]) -> (bool, Vec<String>) {
        let mut request = RequestHeader::build(method, b"/", None).unwrap();
        for value in values {
            request.append_header(MAX_FORWARDS, *value).unwrap();
        }
        let is_exhausted = is_exhausted(&request);
        count_down(&mut request).unwrap();
        let left = request.headers.get_all(MAX_FORWARDS).iter();
        let left = left.map(|value| value.to_str().unwrap().to_owned());
        (is_exhausted, left.collect())
    }

    fn left(values: &[&str]) -> Vec<String> {
        counted("OPTIONS", values).1
    }

    #[test]
    fn options_are_counted_down_to_the_last_server() {
        assert_eq!(left(&["5"]), ["4"]);
        assert_eq!(left(&["1"]), ["0"]);
        assert_eq!(left(&["99999999999999999999999"]), ["18446744073709551614"]);
        assert_eq!(left(&["7", "3"]), ["2"]);
        assert!(left(&["-1"]).is_empty() && left(&["x"]).is_empty() && left(&[]).is_empty());
        assert!(counted("OPTIONS", &["0"]).0 && counted("OPTIONS", &["00"]).0);
        assert!(!counted("OPTIONS", &["1"]).0 && !counted("OPTIONS", &["+0"]).0);
    }

    #[test]
    fn other_methods_keep_it() {
        assert_eq!(counted("GET", &["0"]), (false, vec!["0".to_owned()]));
    }
}
