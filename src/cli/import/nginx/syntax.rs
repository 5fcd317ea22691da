//! The syntax of nginx's file: directives that end with a semicolon or have a block.

use super::super::SyntaxFault;

/// Maximum depth of blocks. nginx itself nests four or five.
const MAX_DEPTH: usize = 16;

/// A directive with its arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NginxDirective {
    pub(super) line: usize,
    /// Name and arguments as written, on one line.
    pub(super) text: String,
    pub(super) name: String,
    pub(super) arguments: Vec<String>,
    pub(super) block: Option<Vec<Self>>,
}

impl NginxDirective {
    /// The argument at this place, or an empty text.
    pub(super) fn argument(&self, at: usize) -> &str {
        self.arguments.get(at).map_or("", String::as_str)
    }
}

/// The directives of a file.
pub(super) fn parse(text: &str) -> Result<Vec<NginxDirective>, SyntaxFault> {
    let tokens = tokens(text)?;
    // The blocks that are open, each with the directive that it belongs to.
    let mut open: Vec<(NginxDirective, Vec<NginxDirective>)> = Vec::new();
    let mut current: Vec<NginxDirective> = Vec::new();
    let mut words: Vec<(usize, String)> = Vec::new();
    for (line, token) in tokens {
        match token {
            NginxToken::Word(word) => words.push((line, word)),
            NginxToken::End => current.extend(directive(&mut words)),
            NginxToken::Open => {
                let head = directive(&mut words)
                    .ok_or_else(|| SyntaxFault::new(line, "a block without a name"))?;
                if open.len() == MAX_DEPTH {
                    let what = format!("more than {MAX_DEPTH} blocks inside each other");
                    return Err(SyntaxFault::new(line, what));
                }
                open.push((head, std::mem::take(&mut current)));
            }
            NginxToken::Close => {
                if let Some((at, word)) = words.first() {
                    return Err(SyntaxFault::new(
                        *at,
                        format!("`{word}` does not end with `;`"),
                    ));
                }
                let (head, around) = open
                    .pop()
                    .ok_or_else(|| SyntaxFault::new(line, "`}` without a block"))?;
                let block = Some(std::mem::replace(&mut current, around));
                current.push(NginxDirective { block, ..head });
            }
        }
    }
    if let Some((head, _)) = open.pop() {
        let what = format!("the block `{}` is not closed", head.name);
        return Err(SyntaxFault::new(head.line, what));
    }
    if let Some((line, word)) = words.first() {
        return Err(SyntaxFault::new(
            *line,
            format!("`{word}` does not end with `;`"),
        ));
    }
    Ok(current)
}

/// True if a file with a mistake was meant for nginx.
pub(super) fn looks_like(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim();
        ["http", "upstream", "server", "events", "location"]
            .iter()
            .any(|name| line.starts_with(&format!("{name} ")) && line.ends_with('{'))
    })
}

fn directive(words: &mut Vec<(usize, String)>) -> Option<NginxDirective> {
    let mut words = std::mem::take(words).into_iter();
    let (line, name) = words.next()?;
    let arguments: Vec<String> = words.map(|(_, word)| word).collect();
    let text = format!("{name} {}", arguments.join(" ")).trim().to_owned();
    Some(NginxDirective {
        line,
        text,
        name,
        arguments,
        block: None,
    })
}

#[derive(Debug, PartialEq, Eq)]
enum NginxToken {
    Word(String),
    /// `;`
    End,
    /// `{`
    Open,
    /// `}`
    Close,
}

/// The tokens of a file, each with its line.
fn tokens(text: &str) -> Result<Vec<(usize, NginxToken)>, SyntaxFault> {
    let mut tokens = Vec::new();
    let mut letters = text.chars().peekable();
    let mut line = 1;
    while let Some(letter) = letters.next() {
        match letter {
            '\n' => line += 1,
            letter if letter.is_whitespace() => {}
            '#' => while letters.next_if(|letter| *letter != '\n').is_some() {},
            ';' => tokens.push((line, NginxToken::End)),
            '{' => tokens.push((line, NginxToken::Open)),
            '}' => tokens.push((line, NginxToken::Close)),
            quote @ ('"' | '\'') => {
                let begin = line;
                let mut word = String::new();
                loop {
                    match letters.next() {
                        None => {
                            return Err(SyntaxFault::new(begin, "a quotation mark is not closed"));
                        }
                        Some(letter) if letter == quote => break,
                        Some('\\') => word.extend(letters.next()),
                        Some(letter) => {
                            line += usize::from(letter == '\n');
                            word.push(letter);
                        }
                    }
                }
                tokens.push((begin, NginxToken::Word(word)));
            }
            first => {
                let mut word = String::from(first);
                if first == '\\' {
                    word.extend(letters.next_if(|letter| *letter != '\n'));
                }
                // Braces belong to the word in `${name}` and in `\d{2}`.
                while let Some(letter) = letters
                    .next_if(|letter| !letter.is_whitespace() && !matches!(letter, ';' | '{' | '}'))
                {
                    word.push(letter);
                    if letter == '\\' {
                        word.extend(letters.next_if(|letter| *letter != '\n'));
                    } else if letter == '$' && letters.peek() == Some(&'{') {
                        while let Some(inner) = letters.next_if(|letter| *letter != '\n') {
                            word.push(inner);
                            if inner == '}' {
                                break;
                            }
                        }
                    }
                }
                tokens.push((line, NginxToken::Word(word)));
            }
        }
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_have_lines_arguments_and_blocks() {
        let text = "http {\n  # all\n  upstream gs { server 10.0.0.1:80 weight=2; }\n}\nuser x;\n";
        let parsed = parse(text).unwrap();
        let [http, user] = parsed.as_slice() else {
            panic!("{parsed:?}");
        };
        assert_eq!((http.line, user.line, user.argument(0)), (1, 5, "x"));
        let upstream = &http.block.as_ref().unwrap()[0];
        assert_eq!((upstream.line, upstream.argument(0)), (3, "gs"));
        let server = &upstream.block.as_ref().unwrap()[0];
        assert_eq!(server.arguments, ["10.0.0.1:80", "weight=2"]);
    }

    #[test]
    fn quotes_and_escapes_keep_words_together() {
        let text = "log_format m '$a ;\n {';\nlocation ~ \\.png$ { }\nset $x a${y}b;";
        let parsed = parse(text).unwrap();
        assert_eq!(parsed[0].arguments, ["m", "$a ;\n {"]);
        assert_eq!((parsed[1].line, parsed[1].argument(1)), (3, "\\.png$"));
        assert_eq!(parsed[2].argument(1), "a${y}b");
    }

    #[test]
    fn mistakes_name_the_line_where_they_begin() {
        for (text, line) in [
            ("a;\nhttp {\n b;\n", 2),
            ("}\n", 1),
            ("a;\nb\n", 2),
            ("http {\n a\n}\n", 2),
            ("a \"x\n", 1),
            ("{ }", 1),
        ] {
            assert_eq!(parse(text).unwrap_err().line, line, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-z {};\"'\\\\#$\n]{0,80}") {
            parse(&text).ok();
        }
    }
}
