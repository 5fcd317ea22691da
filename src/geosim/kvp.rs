//! Key-value pairs of a query or a form, read as GeoServer reads them: keys in any case, values
//! percent-decoded.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// Pairs that are searched at each look-up instead of collected, because a GetMap needs eight of
/// its fifteen keys, once each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kvp<'a> {
    query: &'a [u8],
    form: &'a [u8],
}

impl<'a> Kvp<'a> {
    pub(super) fn new(query: &'a [u8], form: &'a [u8]) -> Self {
        Self { query, form }
    }

    /// The first value of `key`. An empty value counts as absent, as it does for GeoServer.
    pub(super) fn get(&self, key: &str) -> Option<Cow<'a, str>> {
        pairs(self.query)
            .chain(pairs(self.form))
            .find(|(k, v)| is_key(k, key) && !v.is_empty())
            .map(|(_, value)| decode(value))
    }

    pub(super) fn number(&self, key: &str) -> Option<u32> {
        self.get(key)?.parse().ok()
    }

    pub(super) fn is(&self, key: &str, value: &str) -> bool {
        self.get(key).is_some_and(|v| v.eq_ignore_ascii_case(value))
    }
}

fn pairs(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|byte| *byte == b'&').map(|pair| {
        let equals = pair
            .iter()
            .position(|byte| *byte == b'=')
            .unwrap_or(pair.len());
        (&pair[..equals], pair.get(equals + 1..).unwrap_or_default())
    })
}

fn is_key(written: &[u8], key: &str) -> bool {
    written.eq_ignore_ascii_case(key.as_bytes())
        || (written.contains(&b'%') && decode(written).eq_ignore_ascii_case(key))
}

fn decode(value: &[u8]) -> Cow<'_, str> {
    if value.contains(&b'+') {
        let spaced: Vec<u8> = value
            .iter()
            .map(|byte| if *byte == b'+' { b' ' } else { *byte })
            .collect();
        return Cow::Owned(percent_decode(&spaced).decode_utf8_lossy().into_owned());
    }
    percent_decode(value).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_match_in_any_case_and_encoding() {
        let kvp = Kvp::new(
            b"SERVICE=wms&req%75est=GetMap&layers=geor%3Aa,b+c&empty=&empty=x",
            b"form=1",
        );
        assert_eq!(kvp.get("service").unwrap(), "wms");
        assert_eq!(kvp.get("Request").unwrap(), "GetMap");
        assert_eq!(kvp.get("LAYERS").unwrap(), "geor:a,b c");
        assert_eq!(kvp.get("empty").unwrap(), "x");
        assert_eq!(kvp.number("form"), Some(1));
        assert_eq!(kvp.get("absent"), None);
    }
}
