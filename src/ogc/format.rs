//! The output format that the query of a request names.

use super::kvp::pairs;
use super::word::{Encoding, Word, is_text};

/// True if the first `outputFormat` or `format` of the query is `format`, in any case. A format in
/// an XML body is not considered.
pub fn requests_format(target: &[u8], format: &str) -> bool {
    let query = target
        .splitn(2, |&byte| byte == b'?')
        .nth(1)
        .unwrap_or_default();
    let names_format = |key: &[u8]| {
        Word::of_key(key, Encoding::Form)
            .is_ok_and(|key| key.is("outputformat") || key.is("format"))
    };
    let value =
        pairs(query).find_map(|(key, value)| names_format(&query[key]).then(|| &query[value]));
    value.is_some_and(|value| is_text(value, format, Encoding::Form))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_compared_decoded_and_without_case() {
        for query in [
            "format=image/png",
            "REQUEST=GetMap&FORMAT=image%2Fpng",
            "outputFormat=IMAGE/PNG&x=1",
        ] {
            assert!(
                requests_format(format!("/wms?{query}").as_bytes(), "image/png"),
                "{query}"
            );
        }
        for query in [
            "",
            "format=image/png8",
            "format=image/pn",
            "x=image/png",
            "format=&outputformat=image/png",
            "format=image%2",
        ] {
            assert!(
                !requests_format(format!("/wms?{query}").as_bytes(), "image/png"),
                "{query}"
            );
        }
    }
}
