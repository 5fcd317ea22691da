//! One line of the access log, logfmt or JSON, as fields.

use std::collections::BTreeMap;

use serde_json::Value;

/// The fields of a line; a missing value is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::cli) struct LogLine {
    fields: BTreeMap<String, String>,
}

impl LogLine {
    /// Parses a line. What stands before its first field, such as a journal's prefix, is ignored.
    pub(in crate::cli) fn parse(line: &str) -> Option<Self> {
        let line = line.trim_end();
        let logfmt = line.find("time=");
        let json = line.find("{\"time\":");
        match (logfmt, json) {
            (Some(at), None) => Self::of_logfmt(&line[at..]),
            (Some(at), Some(json)) if at < json => Self::of_logfmt(&line[at..]),
            (_, Some(json)) => Self::of_json(serde_json::from_str(&line[json..]).ok()?),
            (None, None) => None,
        }
    }

    /// The line as the API returns it.
    pub(in crate::cli) fn of_json(json: Value) -> Option<Self> {
        let Value::Object(object) = json else {
            return None;
        };
        let fields = object.into_iter().filter_map(|(key, value)| {
            let value = match value {
                Value::Null => return None,
                Value::String(text) => text,
                other => other.to_string(),
            };
            Some((key, value))
        });
        Some(Self {
            fields: fields.collect(),
        })
    }

    fn of_logfmt(line: &str) -> Option<Self> {
        let mut fields = BTreeMap::new();
        let mut rest = line;
        while let Some((key, after)) = rest.split_once('=') {
            let (value, left) = if let Some(quoted) = after.strip_prefix('"') {
                unquoted(quoted)?
            } else {
                let (value, left) = after.split_once(' ').unwrap_or((after, ""));
                ((value != "-").then(|| value.to_owned()), left)
            };
            if let Some(value) = value {
                fields.insert(key.trim().to_owned(), value);
            }
            rest = left.trim_start();
        }
        fields.contains_key("id").then_some(Self { fields })
    }

    pub(in crate::cli) fn text(&self, key: &str) -> Option<&str> {
        self.fields.get(key).map(String::as_str)
    }

    pub(in crate::cli) fn number(&self, key: &str) -> Option<u64> {
        self.text(key)?.parse().ok()
    }

    /// A time in milliseconds.
    pub(in crate::cli) fn millis(&self, key: &str) -> Option<f64> {
        self.text(key)?
            .parse()
            .ok()
            .filter(|ms: &f64| ms.is_finite())
    }
}

/// The value up to its closing quotation mark, and the rest of the text. Escapes of control
/// characters stay as they are, so that a terminal sees none.
fn unquoted(text: &str) -> Option<(Option<String>, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((Some(value), &text[at + 1..])),
            '\\' => match letters.next()?.1 {
                escaped @ ('"' | '\\') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            letter => value.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_escapes_are_undone_and_control_characters_are_not() {
        let line = r#"time=t id=a path="/x?y=\"1\\2\"&z=\u001b[31m" user="-" layer=- end=ok"#;
        let line = LogLine::parse(line).unwrap();
        assert_eq!(line.text("path"), Some(r#"/x?y="1\2"&z=\u001b[31m"#));
        assert_eq!((line.text("user"), line.text("layer")), (Some("-"), None));
        assert_eq!(line.text("end"), Some("ok"));
    }

    #[test]
    fn a_value_without_quotes_may_have_equals_signs() {
        let line = LogLine::parse("time=t id=a path=/x?a=1&b=2 status=200").unwrap();
        assert_eq!(
            (line.text("path"), line.number("status")),
            (Some("/x?a=1&b=2"), Some(200))
        );
    }

    #[test]
    fn json_and_logfmt_have_the_same_fields() {
        let json =
            r#"{"time":"t","id":"a","status":200,"queue_ms":null,"total_ms":1.500,"end":"ok"}"#;
        let logfmt = "time=t id=a status=200 queue_ms=- total_ms=1.500 end=ok";
        let (json, logfmt) = (
            LogLine::parse(json).unwrap(),
            LogLine::parse(logfmt).unwrap(),
        );
        assert_eq!(json.millis("total_ms"), Some(1.5));
        assert_eq!(logfmt.millis("total_ms"), Some(1.5));
        assert_eq!(json.text("queue_ms"), logfmt.text("queue_ms"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_line_or_none(text in "time=[a-z\"\\\\= ]{0,40}") {
            LogLine::parse(&text);
        }
    }
}
