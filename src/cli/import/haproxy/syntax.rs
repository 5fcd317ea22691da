//! The syntax of HAProxy's file: sections of lines, and words with quotes and escapes.

use super::super::SyntaxFault;

/// Words that begin a section.
const SECTIONS: [&str; 19] = [
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "userlist",
    "peers",
    "resolvers",
    "mailers",
    "program",
    "http-errors",
    "ring",
    "cache",
    "log-forward",
    "log-profile",
    "fcgi-app",
    "crt-store",
    "traces",
    "acme",
];

/// Sections with servers or their settings: one of them makes a file HAProxy's.
const SERVER_SECTIONS: [&str; 5] = ["global", "defaults", "frontend", "backend", "listen"];

/// A section, with the line of its head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HaProxySection {
    pub(super) line: usize,
    pub(super) text: String,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) statements: Vec<HaProxyStatement>,
}

/// A line with at least one word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HaProxyStatement {
    pub(super) line: usize,
    pub(super) text: String,
    pub(super) words: Vec<String>,
}

/// True if a line begins a section as only HAProxy has them.
pub(super) fn is_haproxy(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["global" | "defaults"] => true,
            [kind, name] | [kind, name, ..] => {
                SERVER_SECTIONS.contains(kind)
                    && !name.starts_with(['=', ':', '{'])
                    && !line.contains(['{', ';'])
                    && !line.starts_with([' ', '\t'])
            }
            _ => false,
        }
    })
}

/// The sections of a file.
pub(super) fn sections(text: &str) -> Result<Vec<HaProxySection>, SyntaxFault> {
    let mut sections: Vec<HaProxySection> = Vec::new();
    for (at, text) in text.lines().enumerate() {
        let line = at + 1;
        let words = words(text).map_err(|what| SyntaxFault::new(line, what))?;
        let Some(first) = words.first().filter(|first| !first.starts_with('.')) else {
            continue;
        };
        let text = text.trim().to_owned();
        if SECTIONS.contains(&first.as_str()) {
            sections.push(HaProxySection {
                line,
                text,
                kind: first.clone(),
                name: words.get(1).cloned().unwrap_or_default(),
                statements: old_style_bind(&words, line),
            });
            continue;
        }
        let Some(section) = sections.last_mut() else {
            return Err(SyntaxFault::new(
                line,
                format!(
                    "`{first}` stands before the first section (`global`, `defaults`, `frontend`, `backend` or `listen`)"
                ),
            ));
        };
        section
            .statements
            .push(HaProxyStatement { line, text, words });
    }
    Ok(sections)
}

/// `listen NAME ADDRESS`, which old files have, is an address.
fn old_style_bind(words: &[String], line: usize) -> Vec<HaProxyStatement> {
    match words {
        [kind, _, address, ..]
            if matches!(kind.as_str(), "listen" | "frontend") && address.contains(':') =>
        {
            vec![HaProxyStatement {
                line,
                text: words.join(" "),
                words: vec!["bind".to_owned(), address.clone()],
            }]
        }
        _ => Vec::new(),
    }
}

/// The words of a line, without its comment.
fn words(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(end), letter) if letter == end => quote = None,
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                let escaped = letters.next().ok_or("the line ends with a backslash")?;
                // Regular expressions keep their escapes.
                if !matches!(escaped, ' ' | '#' | '"' | '\'' | '\\') {
                    word.get_or_insert_default().push('\\');
                }
                word.get_or_insert_default().push(escaped);
            }
            (None, '#') => break,
            (None, letter) if letter.is_whitespace() => words.extend(word.take()),
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err("a quotation mark is not closed");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_end_at_blanks_outside_quotes_and_comments_are_left_out() {
        for (line, expected) in [
            (
                "  acl a path_beg /x /y # z",
                vec!["acl", "a", "path_beg", "/x", "/y"],
            ),
            ("log-format \"%a b\"", vec!["log-format", "%a b"]),
            ("a\\ b \\# '#'", vec!["a b", "#", "#"]),
            ("path_reg ^/a\\.b", vec!["path_reg", "^/a\\.b"]),
            ("# all", vec![]),
            ("\"\"", vec![""]),
        ] {
            assert_eq!(words(line).unwrap(), expected, "{line}");
        }
        assert!(words("\"a").is_err() && words("a\\").is_err());
    }

    #[test]
    fn a_file_of_haproxy_has_its_sections() {
        assert!(is_haproxy("# x\nbackend gs\n  server a 10.0.0.1:80\n"));
        assert!(is_haproxy("defaults\n  mode http\n"));
        for text in [
            "listen 80;",
            "  listen 80\n",
            "global.x=1\n",
            "upstream backend {\n}\n",
            "Listen 80\n",
        ] {
            assert!(!is_haproxy(text), "{text}");
        }
    }

    #[test]
    fn a_line_before_the_first_section_is_a_mistake() {
        assert_eq!(sections("\nmode http\n").unwrap_err().line, 2);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-z \"'\\\\#\n]{0,80}") {
            sections(&text).ok();
        }
    }
}
