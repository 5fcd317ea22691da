//! Java's property files: keys and values, comments, continued lines.

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Property {
    pub(super) key: String,
    pub(super) value: String,
}

/// All entries in order, including repeated keys.
pub(super) fn properties(text: &str) -> Vec<Property> {
    let mut lines = text.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let mut line = line.trim_start().to_owned();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        while goes_on(&line) {
            line.pop();
            line.push_str(lines.next().unwrap_or_default().trim_start());
        }
        found.push(property(&line));
    }
    found
}

/// True if the line ends with an odd number of backslashes: the last one is not escaped itself.
fn goes_on(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Parses one line. The key ends at the first blank, colon or equals sign that is not escaped.
fn property(line: &str) -> Property {
    let mut escaped = false;
    let end = line.char_indices().find(|(_, c)| {
        let ends = !escaped && (c.is_whitespace() || matches!(c, '=' | ':'));
        escaped = !escaped && *c == '\\';
        ends
    });
    let (key, rest) = line.split_at(end.map_or(line.len(), |(at, _)| at));
    let rest = rest.trim_start();
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim();
    Property {
        key: unescaped(key),
        value: unescaped(value),
    }
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '\\' => match chars.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('u') => code_point(&mut chars),
                Some(other) => other,
                None => break,
            },
            c => c,
        });
    }
    plain
}

/// The letter of the four hexadecimal digits that follow.
fn code_point(chars: &mut std::str::Chars<'_>) -> char {
    let digits: String = chars.by_ref().take(4).collect();
    u32::from_str_radix(&digits, 16)
        .ok()
        .and_then(char::from_u32)
        .unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        properties(text)
            .into_iter()
            .map(|property| (property.key, property.value))
            .collect()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn keys_end_at_an_equals_sign_a_colon_or_a_blank() {
        let text = "a=1\n b : 2 \nc 3\n# d=4\n! e=5\n\nf\r\ng\\=h=i=j\n";
        let expected = [
            pair("a", "1"),
            pair("b", "2"),
            pair("c", "3"),
            pair("f", ""),
            pair("g=h", "i=j"),
        ];
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn a_backslash_at_the_end_joins_lines_unless_it_is_escaped() {
        assert_eq!(
            pairs("a=1,\\\n   2\nb=c\\\\\nd=\\u0041\\"),
            [pair("a", "1,2"), pair("b", "c\\"), pair("d", "A")]
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in "[a-z=:# \\\\u0-9\n]{0,60}") {
            properties(&text);
        }
    }
}
