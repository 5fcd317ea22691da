//! Names with `*` for any text, as an operator writes them.

use std::fmt;

/// A name in which `*` stands for any text, the empty one included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Box<str>);

/// Whether upper and lower case of ASCII letters differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    Matters,
    Ignored,
}

impl Glob {
    /// Builds the form that `text` writes; every text is one.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the form as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if `name` is of this form.
    pub fn matches(&self, name: &[u8], case: Case) -> bool {
        matches(self.0.as_bytes(), name, case)
    }

    /// True if every name of the form of `other` is of this form too. May miss some that are.
    pub fn covers(&self, other: &Self, case: Case) -> bool {
        // A star of the other is matched by a star of this one only, because no other sign is one.
        self.matches(other.0.as_bytes(), case)
    }

    /// The parts between the stars.
    pub(super) fn literals(&self) -> impl Iterator<Item = &str> {
        self.0.split('*').filter(|part| !part.is_empty())
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// True if `name` is of the form `pattern`. Matches from left to right. After a mismatch the last
/// star takes one more byte.
pub(super) fn matches(pattern: &[u8], name: &[u8], case: Case) -> bool {
    let is_same = |a: u8, b: u8| match case {
        Case::Matters => a == b,
        Case::Ignored => a.eq_ignore_ascii_case(&b),
    };
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while read < name.len() {
        match (pattern.get(at), star) {
            (Some(b'*'), _) => {
                star = Some((at, read));
                at += 1;
            }
            (Some(&byte), _) if is_same(byte, name[read]) => {
                at += 1;
                read += 1;
            }
            (_, Some((star_at, taken))) => {
                star = Some((star_at, taken + 1));
                at = star_at + 1;
                read = taken + 1;
            }
            (_, None) => return false,
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        let is =
            |pattern: &str, name: &str| Glob::new(pattern).matches(name.as_bytes(), Case::Matters);
        for (pattern, name) in [
            ("a", "a"),
            ("*", ""),
            ("*", "anything"),
            ("a*", "a"),
            ("*b", "ab"),
            ("a*c", "abc"),
            ("a*c", "acbc"),
            ("*a*b*", "xaybz"),
            ("topp:*", "topp:states"),
        ] {
            assert!(is(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("a", ""),
            ("a", "A"),
            ("a", "ab"),
            ("a*c", "ab"),
            ("*a*b*", "ba"),
            ("topp:*", "top:states"),
        ] {
            assert!(!is(pattern, name), "{pattern} {name}");
        }
        assert!(Glob::new("reST*").matches(b"Rest.xml", Case::Ignored));
    }

    #[test]
    fn a_form_covers_narrower_ones() {
        let covers = |a: &str, b: &str| Glob::new(a).covers(&Glob::new(b), Case::Matters);
        assert!(covers("*", "a*b") && covers("a*", "ab*c") && covers("x", "x"));
        assert!(!covers("ab*", "a*") && !covers("x", "*") && !covers("a*b", "a*"));
    }
}
