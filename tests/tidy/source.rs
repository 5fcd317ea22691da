//! A Rust file reduced to its code: comments and literals are blanked, and tests are marked.
//!
//! Every blanking keeps the line breaks, so a line found is the line in the file. This is a scanner
//! and not a parser: it knows just enough of Rust to not be fooled by a path in a comment or a
//! brace in a string.

/// The text with comments and the insides of string and character literals turned into spaces.
pub(crate) fn code_of(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skip_literal_or_comment(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            blank(&chars[at..end], &mut code);
            at = end;
        }
    }
    code
}

/// Where the comment or literal that starts at `at` ends; `at` when none does.
fn skip_literal_or_comment(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    match chars[at] {
        '/' if next == Some('/') => end_of(chars, at, |rest| rest[0] == '\n', 0),
        '/' if next == Some('*') => block_comment(chars, at),
        '"' => quoted(chars, at),
        'r' if !in_word(chars, at) || matches!(chars[at - 1], 'b' | 'c') => raw_string(chars, at),
        '\'' => character(chars, at),
        _ => at,
    }
}

fn in_word(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

fn end_of(chars: &[char], from: usize, is_end: impl Fn(&[char]) -> bool, end_len: usize) -> usize {
    (from..chars.len())
        .find(|&i| is_end(&chars[i..]))
        .map_or(chars.len(), |i| i + end_len)
}

fn block_comment(chars: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0, at);
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            break;
        }
    }
    i.min(chars.len())
}

fn quoted(chars: &[char], at: usize) -> usize {
    let mut i = at + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

fn raw_string(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
    let open = at + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return at;
    }
    let ends = |rest: &[char]| {
        rest[0] == '"' && rest[1..].iter().take_while(|&&c| c == '#').count() >= hashes
    };
    end_of(chars, open + 1, ends, 1 + hashes)
}

/// `'x'` and `'\n'` are literals, `'static` is not.
fn character(chars: &[char], at: usize) -> usize {
    if chars.get(at + 1) == Some(&'\\') {
        return end_of(chars, at + 3, |rest| rest[0] == '\'', 1);
    }
    if chars.get(at + 2) == Some(&'\'') {
        at + 3
    } else {
        at
    }
}

fn blank(chars: &[char], code: &mut String) {
    code.extend(chars.iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
}

/// Code split into what ships and what only tests see (items under `#[cfg(test)]`), each with the
/// other blanked.
pub(crate) struct Split {
    pub(crate) shipped: String,
    pub(crate) tests: String,
}

/// Separates items under `#[cfg(test)]` from the rest of `code`, which is the output of
/// [`code_of`].
pub(crate) fn split_tests(code: &str) -> Split {
    let (mut shipped, mut tests, mut rest) = (String::new(), String::new(), code);
    while let Some(start) = rest.find("#[cfg(test)]") {
        let (before, item) = rest.split_at(start);
        let (item, after) = item.split_at(end_of_item(item));
        shipped.push_str(before);
        shipped.push_str(&blanked(item));
        tests.push_str(&blanked(before));
        tests.push_str(item);
        rest = after;
    }
    shipped.push_str(rest);
    tests.push_str(&blanked(rest));
    Split { shipped, tests }
}

/// The item's first `;` outside brackets, or the end of its first `{}` block.
fn end_of_item(code: &str) -> usize {
    let mut depth = 0;
    for (i, c) in code.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 && matches!(c, ';' | '}') {
            return i + 1;
        }
    }
    code.len()
}

fn blanked(code: &str) -> String {
    code.chars()
        .map(|c| if c == '\n' { '\n' } else { ' ' })
        .collect()
}

/// A word, `::`, or one other character, and the line it stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

/// The tokens of `code`, which is the output of [`code_of`].
pub(crate) fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(c) = code[at..].chars().next() {
        let len = token_length(&code[at..], c);
        if c == '\n' {
            line += 1;
        } else if !c.is_whitespace() {
            tokens.push(Token {
                text: &code[at..at + len],
                line,
            });
        }
        at += len;
    }
    tokens
}

fn token_length(rest: &str, first: char) -> usize {
    if is_word(first) {
        return rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    }
    if rest.starts_with("::") {
        2
    } else {
        first.len_utf8()
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(code: &str) -> Vec<(&str, usize)> {
        tokens(code).into_iter().map(|t| (t.text, t.line)).collect()
    }

    #[test]
    fn comments_and_literals_are_blank_and_lines_stay() {
        let code = code_of(
            "a // x\n/* b /* c */ d */ e(\"f{\\\"\", r#\"g\"h\"#,\n'{', b'\\'', br\"i\", break) // l\nm",
        );
        let expected = "a@1 e@2 (@2 ,@2 ,@2 ,@3 b@3 ,@3 b@3 ,@3 break@3 )@3 m@4";
        assert_eq!(
            words(&code)
                .iter()
                .map(|(word, line)| format!("{word}@{line}"))
                .collect::<Vec<_>>()
                .join(" "),
            expected
        );
    }

    #[test]
    fn a_lifetime_is_not_a_character() {
        assert_eq!(
            code_of("fn f<'a>(x: &'a str) -> &'static str"),
            "fn f<'a>(x: &'a str) -> &'static str"
        );
    }

    #[test]
    fn items_under_cfg_test_are_recognised() {
        let split = split_tests(
            "use a;\n#[cfg(test)]\nmod tests {\n fn f() { b }\n}\n#[cfg(test)]\nuse c;\nfn d() {}",
        );
        assert!(split.shipped.contains("use a;") && split.shipped.contains("fn d()"));
        assert!(!split.shipped.contains('b') && !split.shipped.contains("use c"));
        assert!(
            split.tests.contains('b')
                && split.tests.contains("use c;")
                && !split.tests.contains("fn d")
        );
        assert_eq!(split.shipped.lines().count(), split.tests.lines().count());
    }
}
