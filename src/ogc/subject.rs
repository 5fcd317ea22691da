//! Whether a request has a property, for the rules that operators write.
//!
//! A rule that gives a request away needs certainty; a rule that refuses needs only the
//! possibility, because a request that GeoServer may read as the refused one must not get through.
//! For a request with one reading ([`Clarity::Plain`]) both are the same, nothing is allocated, and
//! no other request is hit.

use std::cell::OnceCell;

use super::glob::{self, Case, Glob};
use super::path::{Path, path_len};
use super::path_pattern::{PathPattern, Strictness};
use super::word::{Encoding, decode};
use super::wording::Wording;
use super::{Clarity, Classified, RequestHead, Service};

/// Bytes of one decoded name that are compared.
const MAX_NAME: usize = 256;

/// Whether a request has a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    No,
    /// Some server may read the request so.
    Possible,
    Certain,
}

impl Fit {
    fn certain_if(fits: bool) -> Self {
        if fits { Self::Certain } else { Self::No }
    }

    fn possible_if(fits: bool) -> Self {
        if fits { Self::Possible } else { Self::No }
    }
}

/// A classified request, as rules see it.
#[derive(Debug)]
pub struct RuleSubject<'a> {
    head: RequestHead<'a>,
    context: &'a str,
    evidence: Option<&'a [u8]>,
    classified: &'a Classified,
    wording: OnceCell<Wording>,
}

impl<'a> RuleSubject<'a> {
    /// `evidence` is the part of the body that [`super::classify`] got.
    pub fn new(
        head: RequestHead<'a>,
        context: &'a str,
        evidence: Option<&'a [u8]>,
        classified: &'a Classified,
    ) -> Self {
        Self {
            head,
            context,
            evidence,
            classified,
            wording: OnceCell::new(),
        }
    }

    /// Returns the method as the client sent it.
    pub fn method(&self) -> &'a str {
        self.head.method
    }

    /// Returns the result of the classification.
    pub fn classified(&self) -> &'a Classified {
        self.classified
    }

    /// Whether the request is for `service`.
    pub fn fits_service(&self, service: Service) -> Fit {
        match self.classified.clarity {
            Clarity::Plain => Fit::certain_if(self.classified.service == Some(service)),
            Clarity::SeveralReadings => Fit::possible_if(
                self.classified.service == Some(service) || self.mentions_service(service),
            ),
            Clarity::Unreadable => Fit::Possible,
        }
    }

    /// Whether the request is for the operation of this name, as the standard writes it.
    pub fn fits_operation(&self, operation: &str) -> Fit {
        let is_it = self.classified.operation == Some(operation);
        match self.classified.clarity {
            Clarity::Plain => Fit::certain_if(is_it),
            // The addresses of GeoWebCache's tiles name no operation.
            Clarity::SeveralReadings => {
                Fit::possible_if(is_it || self.mentions(operation) || self.mentions("gwc"))
            }
            Clarity::Unreadable => Fit::Possible,
        }
    }

    /// Whether the path has this form. A path that no two servers read differently is decoded
    /// first; of any other it is enough that it contains the texts of the pattern.
    pub fn fits_path(&self, pattern: &PathPattern) -> Fit {
        let raw = &self.head.target[..path_len(self.head.target)];
        let Some(path) = Path::parse(self.head.target, raw.len()) else {
            return Fit::possible_if(contains_texts_of(pattern, raw));
        };
        let literal = path.with_dots();
        if literal.is_none() && self.path_fits(pattern, &path, Strictness::Exact) {
            return Fit::Certain;
        }
        // Some servers keep what others cut off.
        if raw.contains(&b';') && contains_texts_of(pattern, raw) {
            return Fit::Possible;
        }
        let mut readings = std::iter::once(path).chain(literal);
        Fit::possible_if(readings.any(|path| self.path_fits(pattern, &path, Strictness::Lenient)))
    }

    fn path_fits(&self, pattern: &PathPattern, path: &Path<'_>, strictness: Strictness) -> bool {
        path.below(self.context)
            .is_some_and(|base| pattern.fits(path, base, strictness))
    }

    /// Whether the request names a layer of this form. The form may have a workspace (`topp:*`);
    /// without one it stands for layers of that name in every workspace.
    ///
    /// Certain are the first list of layers among the parameters and the layer of the address.
    /// Possible is every name in the request as far as it was read, unless the fit is `needed` to
    /// be certain.
    pub fn fits_layer(&self, form: &Glob, needed: Fit) -> Fit {
        let workspace = self.name_of_workspace();
        let is_in_workspace = |workspace: &[u8], layer: &[u8]| {
            form.as_str().split_once(':').is_some_and(|(of, name)| {
                glob::matches(of.as_bytes(), workspace, Case::Matters)
                    && glob::matches(name.as_bytes(), layer, Case::Matters)
            })
        };
        let is_it = |layer: &[u8]| {
            form.matches(layer, Case::Matters)
                || form.matches(local(layer), Case::Matters)
                || workspace
                    .as_ref()
                    .is_some_and(|workspace| is_in_workspace(workspace.bytes(), layer))
        };
        if self.any_layer(is_it) {
            return Fit::Certain;
        }
        if needed == Fit::Certain {
            return Fit::No;
        }
        let name = form.as_str().rsplit(':').next().unwrap_or_default();
        let (form, name) = (lower(form.as_str()), lower(name));
        Fit::possible_if(self.wording().names().any(|word| {
            form.matches(word, Case::Ignored)
                || form.matches(local(word), Case::Ignored)
                || (workspace.is_some() && name.matches(word, Case::Ignored))
        }))
    }

    /// Whether the request is for a workspace with a name of this form: for its services, or for
    /// its layers by their qualified names (`topp:states`). `needed` is explained at
    /// [`Self::fits_layer`].
    pub fn fits_workspace(&self, form: &Glob, needed: Fit) -> Fit {
        let is_it = |name: &[u8]| form.matches(name, Case::Matters);
        let is_address = self
            .name_of_workspace()
            .is_some_and(|name| is_it(name.bytes()));
        let is_of_layer = |layer: &[u8]| prefix(layer).is_some_and(is_it);
        if is_address || self.any_layer(is_of_layer) {
            return Fit::Certain;
        }
        if needed == Fit::Certain {
            return Fit::No;
        }
        let form = lower(form.as_str());
        let in_path = Wording::of(&[&self.head.target[..path_len(self.head.target)]]);
        Fit::possible_if(
            self.wording()
                .names()
                .filter_map(prefix)
                .chain(in_path.names())
                .any(|name| form.matches(name, Case::Ignored)),
        )
    }

    fn name_of_workspace(&self) -> Option<Name> {
        let span = self.classified.workspace?;
        Name::decoded(span.of(self.head.target), Encoding::Path)
    }

    /// True if one of the layers that the classification has found is `it`.
    fn any_layer(&self, is_it: impl Fn(&[u8]) -> bool) -> bool {
        let Some(span) = self.classified.layer else {
            return false;
        };
        let is_in_query = span.start as usize > path_len(self.head.target);
        let encoding = if is_in_query {
            Encoding::Form
        } else {
            Encoding::Path
        };
        names(span.of(self.head.target), encoding).any(|name| is_it(name.bytes()))
    }

    fn mentions(&self, name: &str) -> bool {
        self.wording().may_contain(&name.to_ascii_lowercase())
    }

    fn mentions_service(&self, service: Service) -> bool {
        let words: &[&str] = match service {
            Service::Wms => &["wms", "kml", "animate", "wmtver"],
            Service::Rest => &["rest", "monitor", "importer"],
            Service::OgcApi => &["ogc"],
            _ => &[],
        };
        self.mentions(service.as_str()) || words.iter().any(|word| self.mentions(word))
    }

    fn wording(&self) -> &Wording {
        self.wording
            .get_or_init(|| Wording::of(&[self.head.target, self.evidence.unwrap_or_default()]))
    }
}

/// True if `path` contains every text that the paths of `pattern` have, in any encoding.
fn contains_texts_of(pattern: &PathPattern, path: &[u8]) -> bool {
    let wording = Wording::of(&[path]);
    pattern
        .literals()
        .all(|literal| wording.may_contain(&literal.to_ascii_lowercase()))
}

fn lower(text: &str) -> Glob {
    Glob::new(&text.to_ascii_lowercase())
}

/// `states` of `topp:states`.
fn local(layer: &[u8]) -> &[u8] {
    layer
        .rsplit(|&byte| byte == b':')
        .next()
        .unwrap_or_default()
}

/// `topp` of `topp:states`.
fn prefix(layer: &[u8]) -> Option<&[u8]> {
    let colon = layer.iter().position(|&byte| byte == b':')?;
    Some(&layer[..colon])
}

/// A short decoded name, on the stack.
struct Name {
    bytes: [u8; MAX_NAME],
    len: usize,
}

impl Name {
    const EMPTY: Self = Self {
        bytes: [0; MAX_NAME],
        len: 0,
    };

    fn decoded(raw: &[u8], encoding: Encoding) -> Option<Self> {
        let mut name = Self::EMPTY;
        decode(raw, encoding)
            .all(|byte| byte.is_ok_and(|byte| name.push(byte)))
            .then_some(name)
    }

    /// Returns false if there is no room left.
    fn push(&mut self, byte: u8) -> bool {
        let Some(free) = self.bytes.get_mut(self.len) else {
            return false;
        };
        *free = byte;
        self.len += 1;
        true
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The names of a list such as `topp:states,sf:roads`. One that is too long is left out.
fn names(raw: &[u8], encoding: Encoding) -> impl Iterator<Item = Name> {
    let mut bytes = decode(raw, encoding).map(|byte| byte.unwrap_or(b'%'));
    let mut has_ended = false;
    std::iter::from_fn(move || {
        while !has_ended {
            let (mut name, mut is_whole) = (Name::EMPTY, true);
            loop {
                match bytes.next() {
                    // `(a)(b)` is the form of several queries in one.
                    Some(b',' | b'(' | b')') => break,
                    Some(byte) => is_whole &= name.push(byte),
                    None => {
                        has_ended = true;
                        break;
                    }
                }
            }
            if is_whole && name.len > 0 {
                return Some(name);
            }
        }
        None
    })
}
