//! Key-value pairs as GeoServer reads them: the parameters of a query or a form body, or the fields
//! of a multipart body.
//!
//! Keys are case-insensitive. `service` and `request` are compared without case and blanks. A
//! repeated key keeps all its values (bounded). GeoServer versions differ in the value they use, so
//! the classifier considers all of them.

use std::ops::Range;

use super::Span;
use super::map_image::MapImage;
use super::processes::{self, Processes};
use super::tile_size::TileSize;
use super::version;
use super::word::{Ambiguous, Encoding, Word, ascii_of, decode};

/// Maximum number of parameters that are read. Tomcat drops parameters beyond its own limit (1,000
/// since 10.1.8), so a request with more is not a normal one.
const MAX_PARAMETERS: usize = 1000;

/// The parameters that influence the classification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Service,
    Request,
    Version,
    AcceptVersions,
    LockId,
    Tiled,
    Store,
    Exceptions,
    /// `layers` of WMS, which is a [`Key::Layer`] too.
    Layers,
    Layer,
    /// The process of a WPS, and a [`Key::Layer`] of a WCS.
    Identifier,
    DataInputs,
    /// `storeExecuteResponse`, `status` and `mode` of a WPS.
    Staying,
    /// The outputs of a WPS.
    ResponseDocument,
    /// The execution that a request of a WPS is about.
    ExecutionId,
    /// The ticket of a login by CAS.
    Ticket,
    /// With `state`, the end of a login by OAuth2.
    Code,
    State,
    Width,
    Height,
    Format,
}

/// The known parameters with names of `length` letters. Most parameters of a request are excluded
/// by their length alone.
fn of_length(length: usize) -> &'static [(&'static [u8], Key)] {
    match length {
        4 => &[(b"code", Key::Code), (b"mode", Key::Staying)],
        5 => &[
            (b"state", Key::State),
            (b"jobid", Key::ExecutionId),
            (b"width", Key::Width),
            (b"layer", Key::Layer),
            (b"tiled", Key::Tiled),
            (b"store", Key::Store),
        ],
        6 => &[
            (b"height", Key::Height),
            (b"status", Key::Staying),
            (b"ticket", Key::Ticket),
            (b"format", Key::Format),
            (b"layers", Key::Layers),
            (b"lockid", Key::LockId),
            (b"wmtver", Key::Version),
        ],
        7 => &[
            (b"service", Key::Service),
            (b"request", Key::Request),
            (b"version", Key::Version),
        ],
        8 => &[(b"typename", Key::Layer), (b"coverage", Key::Layer)],
        9 => &[(b"typenames", Key::Layer)],
        10 => &[
            (b"coverageid", Key::Layer),
            (b"identifier", Key::Identifier),
            (b"datainputs", Key::DataInputs),
            (b"exceptions", Key::Exceptions),
        ],
        11 => &[
            (b"identifiers", Key::Layer),
            (b"executionid", Key::ExecutionId),
        ],
        12 => &[(b"query_layers", Key::Layer)],
        14 => &[(b"acceptversions", Key::AcceptVersions)],
        16 => &[(b"responsedocument", Key::ResponseDocument)],
        20 => &[(b"storeexecuteresponse", Key::Staying)],
        _ => &[],
    }
}

/// The number of letters of the longest known name.
const LONGEST: usize = 20;

impl Key {
    fn named(raw: &[u8], encoding: Encoding) -> Result<Option<Self>, Ambiguous> {
        let mut name = [0; LONGEST];
        if let Some(name) = name.get_mut(..raw.len()) {
            let mut is_plain = true;
            for (letter, byte) in name.iter_mut().zip(raw) {
                *letter = byte.to_ascii_lowercase();
                is_plain &= byte.is_ascii() && *byte != b'%';
            }
            if is_plain {
                return Ok(Self::called(name));
            }
        }
        match Word::of_key(raw, encoding) {
            Ok(word) => Ok(Self::called(word.as_bytes())),
            Err(Ambiguous) if cannot_fold_to_ascii(raw, encoding) => Ok(None),
            Err(Ambiguous) => Err(Ambiguous),
        }
    }

    /// The parameter called `name`, which is in lower case.
    fn called(name: &[u8]) -> Option<Self> {
        // Most names differ in their first letter already.
        let first = name.first()?;
        of_length(name.len())
            .iter()
            .find(|(known, _)| known[0] == *first && *known == name)
            .map(|&(_, key)| key)
    }
}

/// The distinct values of one key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values {
    words: [Word; Self::MAX],
    len: usize,
}

impl Values {
    /// Maximum number of distinct values of `service` or `request`. More are not a request but an
    /// attack.
    const MAX: usize = 4;

    pub(super) const NONE: Self = Self {
        words: [Word::EMPTY; Self::MAX],
        len: 0,
    };

    pub(super) fn one(word: Word) -> Self {
        let mut values = Self::NONE;
        values.words[0] = word;
        values.len = 1;
        values
    }

    /// Adds a value; `false` if there is no room left.
    fn add(&mut self, word: Word) -> bool {
        if word.is_empty() || self.iter().any(|known| *known == word) {
            return true;
        }
        let Some(free) = self.words.get_mut(self.len) else {
            return false;
        };
        *free = word;
        self.len += 1;
        true
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Word> {
        self.words[..self.len].iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn is_repeated(&self) -> bool {
        self.len > 1
    }
}

/// The parameters of a login whose proof can be used once.
#[derive(Clone, Copy, Debug)]
struct Login {
    has_ticket: bool,
    has_code: bool,
    has_state: bool,
}

impl Login {
    const NONE: Self = Self {
        has_ticket: false,
        has_code: false,
        has_state: false,
    };
}

/// The parameters of a request.
#[derive(Clone, Debug)]
pub(super) struct Kvp {
    pub(super) services: Values,
    pub(super) requests: Values,
    /// A value of `request` came from the body.
    pub(super) body_has_request: bool,
    pub(super) version: Option<&'static str>,
    accept_versions: Option<&'static str>,
    pub(super) has_lock_id: bool,
    is_tiled: bool,
    tile_size: TileSize,
    pub(super) image: MapImage,
    pub(super) is_stored: bool,
    /// The processes that `identifier` names.
    pub(super) processes: Processes,
    pub(super) layer: Option<Span>,
    login: Login,
    pub(super) job: Option<Span>,
    /// The parameters contain something that servers may read in different ways.
    pub(super) is_ambiguous: bool,
    parameters: usize,
}

impl Kvp {
    pub(super) const EMPTY: Self = Self {
        services: Values::NONE,
        requests: Values::NONE,
        body_has_request: false,
        version: None,
        accept_versions: None,
        has_lock_id: false,
        is_tiled: false,
        tile_size: TileSize::NONE,
        image: MapImage::NONE,
        is_stored: false,
        processes: Processes::NONE,
        layer: None,
        login: Login::NONE,
        job: None,
        is_ambiguous: false,
        parameters: 0,
    };

    /// Reads the query of `target`, which begins at `from`.
    pub(super) fn of_query(target: &[u8], from: usize) -> Self {
        let mut kvp = Self::EMPTY;
        let query = target.get(from..).unwrap_or_default();
        for (key, value) in pairs(query) {
            let span = Span {
                start: (from + value.start) as u32,
                end: (from + value.end) as u32,
            };
            kvp.read(&query[key], &query[value], Encoding::Form, Some(span));
        }
        kvp
    }

    /// Adds the pairs of a form body.
    pub(super) fn add_form(&mut self, body: &[u8]) {
        for (key, value) in pairs(body) {
            self.read(&body[key], &body[value], Encoding::Form, None);
        }
    }

    /// Adds one field of a multipart body.
    pub(super) fn add_field(&mut self, name: &[u8], value: &[u8]) {
        self.read(name, value, Encoding::Plain, None);
    }

    /// The requested version, negotiated or not.
    pub(super) fn any_version(&self) -> Option<&'static str> {
        self.version.or(self.accept_versions)
    }

    /// True if a parameter proves a login and can be used once: CAS's ticket, or the code and state
    /// of OAuth2.
    pub(super) fn is_login(&self) -> bool {
        self.login.has_ticket || self.login.has_code && self.login.has_state
    }

    /// True if the tile cache may answer a GetMap with these parameters.
    pub(super) fn is_tile_request(&self) -> bool {
        self.is_tiled && self.tile_size.is_of_a_tile()
    }

    fn read(&mut self, key: &[u8], value: &[u8], encoding: Encoding, span: Option<Span>) {
        self.parameters += 1;
        self.is_ambiguous |= self.parameters > MAX_PARAMETERS;
        match Key::named(key, encoding) {
            Err(Ambiguous) => self.is_ambiguous = true,
            Ok(None) => {}
            Ok(Some(key)) => self.take(key, value, encoding, span),
        }
    }

    fn take(&mut self, key: Key, value: &[u8], encoding: Encoding, span: Option<Span>) {
        let word = || Word::of_value(value, encoding);
        match key {
            Key::Service | Key::Request => match word() {
                Ok(word) => self.add_name(key, word, span.is_none()),
                Err(Ambiguous) => self.is_ambiguous = true,
            },
            Key::Version => {
                self.version = self
                    .version
                    .or_else(|| version::first_known(value, encoding))
            }
            Key::AcceptVersions => {
                self.accept_versions = self
                    .accept_versions
                    .or_else(|| version::first_known(value, encoding))
            }
            Key::LockId => self.has_lock_id |= !value.is_empty(),
            Key::Tiled => self.is_tiled |= word().is_ok_and(|word| word.is("true")),
            Key::Store => self.is_stored |= word().map_or(true, |word| word.is("true")),
            Key::Exceptions => {}
            Key::Layers => {
                self.tile_size.see_layers(value, encoding);
                self.see_layer(span);
            }
            Key::Layer => self.see_layer(span),
            Key::Identifier => {
                self.see_layer(span);
                let named = word().map_or(Processes::UNDETERMINED, |word| Processes::called(&word));
                self.processes = self.processes.beside(named);
            }
            Key::DataInputs => {
                if processes::refers_to_own_wps(value, encoding) {
                    self.processes = self.processes.beside(Processes::UNDETERMINED);
                }
            }
            Key::Staying => {
                let staying = processes::of_staying(value, encoding);
                self.processes = self.processes.beside(staying);
            }
            Key::ResponseDocument => {
                let outputs = processes::of_outputs(value, encoding);
                self.processes = self.processes.beside(outputs);
            }
            Key::ExecutionId => self.job = self.job.or(span),
            Key::Ticket => self.login.has_ticket |= !value.is_empty(),
            Key::Code => self.login.has_code |= !value.is_empty(),
            Key::State => self.login.has_state |= !value.is_empty(),
            Key::Width => {
                self.tile_size.see_width(value, encoding);
                self.image.see_width(value, encoding);
            }
            Key::Height => {
                self.tile_size.see_height(value, encoding);
                self.image.see_height(value, encoding);
            }
            Key::Format => {
                self.tile_size.see_format(value, encoding);
                self.image.see_format(value, encoding);
            }
        }
    }

    fn see_layer(&mut self, span: Option<Span>) {
        self.layer = self
            .layer
            .or_else(|| span.filter(|span| span.start < span.end));
    }

    fn add_name(&mut self, key: Key, word: Word, is_of_body: bool) {
        let values = if key == Key::Service {
            &mut self.services
        } else {
            &mut self.requests
        };
        let before = values.len;
        self.is_ambiguous |= !values.add(word);
        self.body_has_request |= key == Key::Request && is_of_body && values.len > before;
    }
}

/// Bytes of a name that are searched for letters beyond ASCII. Letters that fold into ASCII have at
/// most three bytes each, and no known name has more than 20 of them.
const MAX_FOLDED: usize = 64;

/// True if no server takes the name `raw` for a known one: it has a letter that stays beyond ASCII
/// when Java changes its case (`参`, `é`; not `ſ`, the Kelvin sign or `ﬆ`). In another charset these
/// bytes are other letters, but at least one of every two does not fold.
pub(super) fn cannot_fold_to_ascii(raw: &[u8], encoding: Encoding) -> bool {
    let mut bytes = [0; MAX_FOLDED];
    let mut len = 0;
    for byte in decode(raw, encoding) {
        let Ok(byte) = byte else { return false };
        let Some(free) = bytes.get_mut(len) else {
            return false;
        };
        *free = byte;
        len += 1;
    }
    str::from_utf8(&bytes[..len])
        .is_ok_and(|name| name.chars().any(|letter| !may_be_in_a_name(letter)))
}

/// True if `letter` is ASCII or becomes ASCII by a change of case. `ß` becomes `SS`, which no known
/// name contains.
fn may_be_in_a_name(letter: char) -> bool {
    ascii_of(letter).is_some() && !matches!(letter, 'ß' | 'ẞ')
}

/// The first value of `key` in a query, without blanks and in lower case.
pub(super) fn value_in(query: &[u8], key: Key) -> Option<Word> {
    pairs(query).take(MAX_PARAMETERS).find_map(|(name, value)| {
        let is_wanted = Key::named(&query[name], Encoding::Form) == Ok(Some(key));
        is_wanted
            .then(|| Word::of_value(&query[value], Encoding::Form).ok())
            .flatten()
    })
}

/// The positions of the keys and values of `key=value&key=value`, in one pass. This is most of the
/// work of a classification.
pub(super) fn pairs(text: &[u8]) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = text.get(start..)?;
        let key_end = rest
            .iter()
            .position(|byte| matches!(byte, b'=' | b'&'))
            .unwrap_or(rest.len());
        let value_start = key_end + usize::from(rest.get(key_end) == Some(&b'='));
        let end = rest[value_start..]
            .iter()
            .position(|&byte| byte == b'&')
            .map_or(rest.len(), |at| value_start + at);
        let pair = (start..start + key_end, start + value_start..start + end);
        start += end + 1;
        Some(pair)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_that_decides_has_a_double_s() {
        let names = (0..32).flat_map(of_length).map(|(name, _)| *name);
        assert!(names.clone().count() > 10);
        assert_eq!(names.clone().map(<[u8]>::len).max(), Some(LONGEST));
        assert!(
            names
                .into_iter()
                .all(|name| !name.windows(2).any(|pair| pair == b"ss"))
        );
    }

    #[test]
    fn a_name_decides_nothing_only_if_one_of_its_letters_stays_beyond_ascii() {
        let is_none = |name: &str| Key::named(name.as_bytes(), Encoding::Form) == Ok(None);
        for name in [
            "参数",
            "%E5%8F%82%E6%95%B0",
            "requ%C3%A9st",
            "stra\u{df}e",
            "\u{131}\u{e9}",
            "이름",
            "%D0%B8%D0%BC%D1%8F",
        ] {
            assert!(is_none(name), "{name}");
        }
        for name in [
            "reque\u{fb06}",
            "loc\u{212a}id",
            "\u{17f}ervice",
            "serv\u{131}ce",
            "serv\u{130}ce",
            "%E5%8F",
            "x%zz\u{e9}",
        ] {
            assert_eq!(
                Key::named(name.as_bytes(), Encoding::Form),
                Err(Ambiguous),
                "{name}"
            );
        }
        let long = "é".repeat(MAX_FOLDED);
        assert_eq!(Key::named(long.as_bytes(), Encoding::Form), Err(Ambiguous));
    }
}
