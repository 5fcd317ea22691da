//! Charsets in which every ASCII letter is one byte. In any other charset, the same bytes may be
//! different text.

/// True if the charset called `name` encodes ASCII as itself.
pub(super) fn keeps_ascii(name: &[u8]) -> bool {
    const WHOLE: [&[u8]; 4] = [b"utf-8", b"utf8", b"us-ascii", b"ascii"];
    const FAMILIES: [&[u8]; 2] = [b"iso-8859-", b"windows-125"];
    let is_of = |family: &&[u8]| {
        name.get(..family.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(family))
    };
    WHOLE.iter().any(|known| name.eq_ignore_ascii_case(known)) || FAMILIES.iter().any(is_of)
}

/// True if the charset called `name` has letters of several bytes that begin beyond ASCII, while
/// pure ASCII text stands for itself. The bytes that follow such a first byte may be part of the
/// same letter.
pub(super) fn is_multibyte(name: &[u8]) -> bool {
    const KNOWN: [&[u8]; 12] = [
        b"gbk",
        b"gb2312",
        b"gb18030",
        b"big5",
        b"big5-hkscs",
        b"euc-kr",
        b"euc-jp",
        b"euc-cn",
        b"ks_c_5601-1987",
        b"windows-949",
        b"windows-31j",
        b"shift_jis",
    ];
    KNOWN.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// True if every charset that a content type names encodes ASCII as itself. Containers search for
/// the word anywhere in the content type, so a parameter that merely contains it counts too.
pub(super) fn is_plain(content_type: &str) -> bool {
    content_type
        .split(';')
        .enumerate()
        .all(|(index, parameter)| match position(parameter) {
            None => true,
            Some(at) => {
                let value = parameter[at + NAME.len()..]
                    .trim_start()
                    .strip_prefix('=')
                    .map(str::trim);
                let is_alone = index > 0 && parameter[..at].trim().is_empty();
                is_alone
                    && value.is_some_and(|value| keeps_ascii(value.trim_matches('"').as_bytes()))
            }
        })
}

const NAME: &str = "charset";

fn position(text: &str) -> Option<usize> {
    text.as_bytes()
        .windows(NAME.len())
        .position(|window| window.eq_ignore_ascii_case(NAME.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charset_that_is_not_ascii_is_noticed_however_it_is_named() {
        let plain = [
            "a/b",
            "a/b; charset=UTF-8",
            "a/b;Charset = \"iso-8859-15\"; x=y",
            "a/b; x=charset-less;charset=windows-1252",
        ];
        assert!(plain[..3].iter().all(|content_type| is_plain(content_type)));
        let other = [
            plain[3],
            "a/b; charset=UTF-16",
            "a/b;charset=\"utf-16be\"",
            "a/b; xcharset=UTF-16",
            "a/b; charset",
            "a/b; charset=cp037",
            "a charset=UTF-16",
        ];
        assert!(other.iter().all(|content_type| !is_plain(content_type)));
    }
}
