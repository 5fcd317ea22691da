//! The syntax of Apache's file: directives on lines, in sections.

use super::super::SyntaxFault;

/// Maximum depth of sections.
const MAX_DEPTH: usize = 16;

/// Directives and sections of which one makes a file Apache's.
const TELLING: [&str; 9] = [
    "balancermember",
    "proxypass",
    "proxypassmatch",
    "proxypassreverse",
    "proxyset",
    "loadmodule",
    "<proxy",
    "<virtualhost",
    "<location",
];

/// A directive, or a section with its inner directives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ApacheDirective {
    pub(super) line: usize,
    pub(super) text: String,
    /// In lower case; a section's begins with `<`.
    pub(super) name: String,
    pub(super) arguments: Vec<String>,
    pub(super) inner: Vec<Self>,
}

impl ApacheDirective {
    /// The argument at this place, or an empty text.
    pub(super) fn argument(&self, at: usize) -> &str {
        self.arguments.get(at).map_or("", String::as_str)
    }

    pub(super) fn is_section(&self) -> bool {
        self.name.starts_with('<')
    }
}

/// True if the text has directives as only Apache has them.
pub(super) fn is_apache(text: &str) -> bool {
    text.lines().any(|line| {
        let first = line.split_whitespace().next().unwrap_or_default();
        TELLING.contains(&first.to_ascii_lowercase().as_str()) && !line.trim().ends_with(['{', ';'])
    })
}

/// The directives of a file.
pub(super) fn parse(text: &str) -> Result<Vec<ApacheDirective>, SyntaxFault> {
    let mut open: Vec<ApacheDirective> = Vec::new();
    let mut top = Vec::new();
    for (line, text) in joined_lines(text) {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if let Some(name) = text.strip_prefix("</") {
            let name = name.trim_end_matches('>').trim().to_ascii_lowercase();
            match open.pop() {
                Some(section) if section.name == format!("<{name}") => {
                    open.last_mut()
                        .map_or(&mut top, |section| &mut section.inner)
                        .push(section);
                }
                Some(section) => {
                    let what = format!(
                        "`</{name}>` closes `{}` of line {}",
                        section.text, section.line
                    );
                    return Err(SyntaxFault::new(line, what));
                }
                None => {
                    let what = format!("`</{name}>` without a section");
                    return Err(SyntaxFault::new(line, what));
                }
            }
            continue;
        }
        let directive = directive(line, text)?;
        if directive.is_section() {
            if open.len() == MAX_DEPTH {
                let what = format!("more than {MAX_DEPTH} sections inside each other");
                return Err(SyntaxFault::new(line, what));
            }
            open.push(directive);
        } else {
            open.last_mut()
                .map_or(&mut top, |section| &mut section.inner)
                .push(directive);
        }
    }
    match open.pop() {
        None => Ok(top),
        Some(section) => Err(SyntaxFault::new(
            section.line,
            format!("the section `{}` is not closed", section.text),
        )),
    }
}

/// The lines, each with the number of its first one; a backslash at the end joins two.
fn joined_lines(text: &str) -> Vec<(usize, String)> {
    let mut joined: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (at, line) in text.lines().enumerate() {
        let (part, ends_open) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        match joined.last_mut() {
            Some((_, before)) if goes_on => before.push_str(part),
            _ => joined.push((at + 1, part.to_owned())),
        }
        goes_on = ends_open;
    }
    joined
}

fn directive(line: usize, text: &str) -> Result<ApacheDirective, SyntaxFault> {
    let body = match text.strip_prefix('<') {
        Some(rest) => rest
            .strip_suffix('>')
            .ok_or_else(|| SyntaxFault::new(line, format!("`{text}` does not end with `>`")))?,
        None => text,
    };
    let mut words = words(body).map_err(|what| SyntaxFault::new(line, what))?;
    if words.is_empty() {
        return Err(SyntaxFault::new(line, "a section without a name"));
    }
    let name = words.remove(0).to_ascii_lowercase();
    Ok(ApacheDirective {
        line,
        text: text.to_owned(),
        name: if text.starts_with('<') {
            format!("<{name}")
        } else {
            name
        },
        arguments: words,
        inner: Vec::new(),
    })
}

fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(end), letter) if letter == end => quote = None,
            (Some(end), '\\') => match letters.next() {
                Some(escaped) if escaped == end => word.get_or_insert_default().push(escaped),
                Some(other) => word.get_or_insert_default().extend(['\\', other]),
                None => return Err("a quotation mark is not closed"),
            },
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
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
    fn sections_hold_directives_and_a_backslash_joins_lines() {
        let text = "# x\n<VirtualHost *:80>\n  <Proxy \"balancer://gs\">\n    BalancerMember http://10.0.0.1:80 \\\n      route=a\n  </Proxy>\n</VirtualHost>\nListen 80\n";
        let parsed = parse(text).unwrap();
        assert_eq!((parsed[0].line, parsed[1].line), (2, 8));
        let proxy = &parsed[0].inner[0];
        assert_eq!(
            (proxy.name.as_str(), proxy.argument(0)),
            ("<proxy", "balancer://gs")
        );
        let member = &proxy.inner[0];
        assert_eq!(member.line, 4);
        assert_eq!(member.arguments, ["http://10.0.0.1:80", "route=a"]);
    }

    #[test]
    fn mistakes_name_their_line() {
        for (text, line) in [
            ("Listen 80\n<Proxy a>\n", 2),
            ("</Proxy>\n", 1),
            ("<Proxy a>\n</Location>\n", 2),
            ("<Proxy a\n", 1),
            ("\nHeader set X \"a\n", 2),
            ("<>\n", 1),
        ] {
            assert_eq!(parse(text).unwrap_err().line, line, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-z <>/\"'\\\\#\n]{0,80}") {
            parse(&text).ok();
        }
    }
}
