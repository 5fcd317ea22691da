//! The path as a servlet container reads it: without `;parameters`, escapes decoded, `//`, `.` and
//! `..` resolved.
//!
//! The classification uses this reading; the original bytes are forwarded. So the promise is
//! one-sided: no reading of a container or framework behind geofront may be more powerful than this
//! one. Known differences are encoded slashes, backslashes, encoded semicolons, double encoding,
//! `..` above the root or right behind an empty segment, dots in several spellings, and broken
//! UTF-8. A path with one of them is not read, and the request is `unknown`.

use std::borrow::Cow;

use super::Span;
use super::kvp::cannot_fold_to_ascii;
use super::word::{Encoding, Word, decode};

/// Maximum number of segments that are read. GeoServer's own deepest paths have about twelve.
const MAX_SEGMENTS: usize = 32;

/// The length of the path of `target`: everything before the first `?`.
pub(super) fn path_len(target: &[u8]) -> usize {
    target
        .iter()
        .position(|&byte| byte == b'?')
        .unwrap_or(target.len())
}

/// The segments of a path, as spans of the request target, each without its `;parameters`.
#[derive(Clone, Debug)]
pub(super) struct Path<'t> {
    target: &'t [u8],
    path_len: usize,
    segments: [Span; MAX_SEGMENTS],
    len: usize,
    has_dots: bool,
    has_parameters: bool,
    /// One bit for each segment, the first one lowest: set if something else than one slash stands
    /// between it and the segment before it.
    detached: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dots {
    Resolved,
    Kept,
}

impl<'t> Path<'t> {
    /// Splits the path of `target` (everything before the first `?`); `None` if it cannot be read
    /// safely.
    pub(super) fn parse(target: &'t [u8], path_len: usize) -> Option<Self> {
        Self::split(target, path_len, Dots::Resolved)
    }

    /// The same path with `.` and `..` treated as names; `None` if it has none.
    pub(super) fn with_dots(&self) -> Option<Self> {
        if self.has_dots {
            Self::split(self.target, self.path_len, Dots::Kept)
        } else {
            None
        }
    }

    fn split(target: &'t [u8], path_len: usize, dots: Dots) -> Option<Self> {
        let path = &target[..path_len];
        let segments = [Span { start: 0, end: 0 }; MAX_SEGMENTS];
        let mut parsed = Self {
            target,
            path_len,
            segments,
            len: 0,
            has_dots: false,
            has_parameters: false,
            detached: 0,
        };
        let mut is_detached = false;
        let mut start = match path.first() {
            Some(b'/') => 1,
            Some(_) | None => return None,
        };
        let mut seen = SeenDots::default();
        let mut names_and_dots = 0;
        for piece in path[1..].split(|&byte| byte == b'/') {
            let name_len = piece
                .iter()
                .position(|&byte| byte == b';')
                .unwrap_or(piece.len());
            // A server that decodes before it removes `;parameters` reads the names hidden in them.
            if !piece[name_len..].split(|&byte| byte == b';').all(is_plain) {
                return None;
            }
            let reading = reading_of(&piece[..name_len])?;
            parsed.has_dots |= matches!(reading, Reading::Here | Reading::Up);
            parsed.has_parameters |= name_len < piece.len();
            seen.add(&reading, piece)?;
            names_and_dots += usize::from(!matches!(reading, Reading::Nothing));
            match (reading, dots) {
                (Reading::Nothing, _) | (Reading::Here, Dots::Resolved) => is_detached = true,
                (Reading::Up, Dots::Resolved) => {
                    parsed.len = parsed.len.checked_sub(1)?;
                    is_detached = true;
                }
                (Reading::Name, _) | (Reading::Here | Reading::Up, Dots::Kept) => {
                    *parsed.segments.get_mut(parsed.len)? = Span {
                        start: start as u32,
                        end: (start + name_len) as u32,
                    };
                    parsed.detached &= (1 << parsed.len) - 1;
                    parsed.detached |= u32::from(is_detached) << parsed.len;
                    parsed.len += 1;
                    is_detached = false;
                }
            }
            start += piece.len() + 1;
        }
        // A server that leaves the dots in has a path that cannot be read here.
        if parsed.has_dots && names_and_dots > MAX_SEGMENTS {
            return None;
        }
        Some(parsed)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The range of segment `at` in the request target.
    pub(super) fn span(&self, at: usize) -> Option<Span> {
        self.segments[..self.len].get(at).copied()
    }

    /// The bytes of segment `at` as they were sent, without `;parameters`.
    pub(super) fn segment(&self, at: usize) -> Option<&'t [u8]> {
        self.span(at).map(|span| span.of(self.target))
    }

    /// True if the segments from `from` on are separated by exactly one slash, and at most one
    /// slash follows the last: there are no empty segments, parameters or dots.
    pub(super) fn is_unbroken(&self, from: usize) -> bool {
        let segments = self.segments[..self.len].get(from..).unwrap_or_default();
        let end = segments
            .last()
            .map_or(self.path_len, |last| last.end as usize);
        segments
            .windows(2)
            .all(|pair| pair[0].end + 1 == pair[1].start)
            && matches!(&self.target[end..self.path_len], b"" | b"/")
    }

    /// True if some servers find other segments. Those that keep `;parameters` find other names.
    /// Those that keep an empty segment find all that follow it one place further, or one more at
    /// the end.
    pub(super) fn has_other_segments(&self) -> bool {
        let present = (1_u64 << self.len) - 1;
        self.has_parameters
            || u64::from(self.detached) & present != 0
            || !self.is_unbroken(self.len.saturating_sub(1))
    }

    /// The decoded name of segment `at`; empty if there is no such segment (no segment is empty).
    pub(super) fn name(&self, at: usize) -> Word {
        self.span(at)
            .map_or(Word::EMPTY, |span| Word::of_segment(span.of(self.target)))
    }

    /// The text of `span` in lower case and without blanks, as GeoServer compares it; `None` if it
    /// has letters beyond ASCII.
    pub(super) fn folded(&self, span: Span) -> Option<Word> {
        Word::of_value(span.of(self.target), Encoding::Path).ok()
    }

    /// True if segment `at` has letters beyond ASCII that a change of case may turn into ASCII
    /// (`wfſ`).
    pub(super) fn may_fold_to_ascii(&self, at: usize) -> bool {
        let Some(span) = self.span(at) else {
            return false;
        };
        self.folded(span).is_none() && !cannot_fold_to_ascii(span.of(self.target), Encoding::Path)
    }

    /// The number of segments of `context`, if the path begins with them.
    pub(super) fn below(&self, context: &str) -> Option<usize> {
        let mut depth = 0;
        for name in context.split('/').filter(|name| !name.is_empty()) {
            let segment = self.span(depth)?.of(self.target);
            let is_name = segment == name.as_bytes()
                || decode(segment, Encoding::Path).flatten().eq(name.bytes());
            if !is_name {
                return None;
            }
            depth += 1;
        }
        Some(depth)
    }
}

/// The effect of one piece between slashes.
enum Reading {
    /// Empty: no effect.
    Nothing,
    /// `.`
    Here,
    /// `..`
    Up,
    Name,
}

/// Dots and empty segments lead to different paths if a server processes them in another order, or
/// not at all. This records those that were seen.
#[derive(Default)]
struct SeenDots {
    /// One bit per open segment, the last one lowest: set if the segment is empty. Some servers
    /// keep empty segments, so that `..` removes the empty one instead of the name before it.
    empties: u64,
    open: u32,
    has_up: bool,
    /// Spelling of the dots: escaped, and followed by parameters. Servers may resolve such dots
    /// later than others.
    spelling: Option<(bool, bool)>,
    is_mixed: bool,
}

impl SeenDots {
    /// Applies `piece`; `None` if servers differ about the path.
    fn add(&mut self, reading: &Reading, piece: &[u8]) -> Option<()> {
        match reading {
            Reading::Nothing | Reading::Name => {
                self.empties = self.empties << 1 | u64::from(matches!(reading, Reading::Nothing));
                self.open += 1;
            }
            Reading::Here => self.see_spelling(piece),
            Reading::Up => {
                self.see_spelling(piece);
                self.has_up = true;
                if self.empties & 1 == 1 || self.open > u64::BITS {
                    return None;
                }
                self.empties >>= 1;
                self.open = self.open.saturating_sub(1);
            }
        }
        (!(self.has_up && self.is_mixed)).then_some(())
    }

    fn see_spelling(&mut self, piece: &[u8]) {
        let spelling = (piece.contains(&b'%'), piece.contains(&b';'));
        self.is_mixed |= self
            .spelling
            .replace(spelling)
            .is_some_and(|before| before != spelling);
    }
}

fn reading_of(piece: &[u8]) -> Option<Reading> {
    if piece
        .iter()
        .all(|&byte| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'\\' | b'#'))
    {
        return Some(dots(piece));
    }
    if !is_plain(piece) {
        return None;
    }
    if decode(piece, Encoding::Path)
        .flatten()
        .any(|byte| !byte.is_ascii())
    {
        let decoded: Vec<u8> = decode(piece, Encoding::Path).flatten().collect();
        str::from_utf8(&decoded).ok()?;
    }
    Some(dots(Word::of_segment(piece).as_bytes()))
}

/// True if all servers read `piece` in the same way. A decoded slash or backslash may or may not be
/// a separator. A decoded `;` may or may not begin parameters. A decoded `%` may be decoded again.
/// Some containers refuse `#` and control bytes, others accept them.
fn is_plain(piece: &[u8]) -> bool {
    decode(piece, Encoding::Path).all(|byte| {
        byte.is_ok_and(|byte| {
            !byte.is_ascii_control() && !matches!(byte, b'/' | b'\\' | b';' | b'%' | b'#')
        })
    })
}

fn dots(name: &[u8]) -> Reading {
    match name {
        b"" => Reading::Nothing,
        b"." => Reading::Here,
        b".." => Reading::Up,
        _ => Reading::Name,
    }
}

/// The path that a servlet container maps for the raw path of a request (no query). `None` if it
/// cannot be read safely: a broken escape, a control byte, `..` above the root, or an encoding
/// about which containers differ.
///
/// Borrows if nothing needs to change. A trailing slash stays.
pub fn normalise_path(raw: &[u8]) -> Option<Cow<'_, [u8]>> {
    let path = Path::parse(raw, raw.len())?;
    let mut normal = Vec::with_capacity(raw.len());
    for span in &path.segments[..path.len] {
        normal.push(b'/');
        normal.extend(decode(span.of(raw), Encoding::Path).flatten());
    }
    if normal.is_empty() || ends_in_slash(raw) {
        normal.push(b'/');
    }
    Some(if normal == raw {
        Cow::Borrowed(raw)
    } else {
        Cow::Owned(normal)
    })
}

fn ends_in_slash(raw: &[u8]) -> bool {
    let last = raw.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let name_len = last
        .iter()
        .position(|&byte| byte == b';')
        .unwrap_or(last.len());
    !matches!(reading_of(&last[..name_len]), Some(Reading::Name))
}
