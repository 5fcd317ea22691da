//! The same word in another spelling, as clients, proxies and attackers write paths and parameters.

// Each test that shares this file uses a part of it.
#![allow(dead_code)]

use proptest::prelude::*;

/// A change to one word of a URL.
#[derive(Clone, Debug)]
pub(crate) enum Spelling {
    Plain,
    /// Changes the case of the letters whose bit is set.
    Cases(u32),
    /// Escapes the letters whose bit is set.
    Escapes(u32),
    /// Escaped twice.
    Twice(u32),
    /// Text is added before and behind.
    Around(&'static str, &'static str),
    /// Letters that Java folds into ASCII ones.
    Lookalike,
}

const AROUND: [(&str, &str); 13] = [
    ("", ";x"),
    ("", ";a=b;c"),
    (";", ""),
    ("%20", ""),
    ("+", "+"),
    ("%09", "%0A"),
    ("", "%00"),
    ("", "%"),
    ("%zz", ""),
    ("", "%3Bx"),
    ("", "?"),
    ("", "\u{e9}"),
    ("\u{53c2}", ""),
];

/// Mostly plain.
pub(crate) fn spelling() -> impl Strategy<Value = Spelling> {
    prop_oneof![
        12 => Just(Spelling::Plain),
        3 => any::<u32>().prop_map(Spelling::Cases),
        3 => any::<u32>().prop_map(Spelling::Escapes),
        1 => any::<u32>().prop_map(Spelling::Twice),
        2 => prop::sample::select(&AROUND[..])
            .prop_map(|(before, behind)| Spelling::Around(before, behind)),
        1 => Just(Spelling::Lookalike),
    ]
}

impl Spelling {
    pub(crate) fn of(&self, word: &str) -> Vec<u8> {
        match self {
            Self::Plain => word.as_bytes().to_vec(),
            Self::Cases(bits) => marked(word, *bits, |letter| vec![swapped(letter)]),
            Self::Escapes(bits) => marked(word, *bits, escaped),
            Self::Twice(bits) => {
                let once = marked(word, *bits, escaped);
                once.into_iter()
                    .flat_map(|byte| {
                        if byte == b'%' {
                            b"%25".to_vec()
                        } else {
                            vec![byte]
                        }
                    })
                    .collect()
            }
            Self::Around(before, behind) => {
                [before.as_bytes(), word.as_bytes(), behind.as_bytes()].concat()
            }
            Self::Lookalike => {
                let text = word
                    .replacen('k', "\u{212a}", 1)
                    .replacen("st", "\u{fb06}", 1);
                text.replacen('s', "\u{17f}", 1)
                    .replacen('i', "\u{131}", 1)
                    .into_bytes()
            }
        }
    }
}

fn marked(word: &str, bits: u32, change: impl Fn(u8) -> Vec<u8>) -> Vec<u8> {
    let is_marked = |at: usize| bits >> (at % 32) & 1 == 1;
    word.bytes()
        .enumerate()
        .flat_map(|(at, letter)| {
            if is_marked(at) {
                change(letter)
            } else {
                vec![letter]
            }
        })
        .collect()
}

fn swapped(letter: u8) -> u8 {
    if letter.is_ascii_lowercase() {
        letter.to_ascii_uppercase()
    } else {
        letter.to_ascii_lowercase()
    }
}

fn escaped(letter: u8) -> Vec<u8> {
    let upper = format!("%{letter:02X}");
    if letter & 1 == 0 {
        upper.into_bytes()
    } else {
        upper.to_ascii_lowercase().into_bytes()
    }
}
