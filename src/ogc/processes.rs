//! The processes that a request runs, as far as its words show them.
//!
//! Replicas may serve processes (`classes.process.served_by`), but never one that changes the
//! catalog: the main and the replica would undo each other's changes. GeoServer's own is
//! `gs:Import` (`ImportProcess`); `gs:StoreCoverage` and all others leave the catalog alone.
//! Processes of extensions and scripts are recognised by their name. The promise is one-sided, as
//! for reads: a request that may run a process which is not seen here is undetermined, and the main
//! runs it.

use quick_xml::events::BytesStart;

use super::tags::{Tag, Tags, is_name};
use super::word::{Encoding, Word, decode};
use crate::hash::fnv1a;

/// Parts of the names of processes that change the catalog, in lower case.
const CHANGES: [&[u8]; 2] = [b"import", b"publish"];

/// The address of GeoServer's own WPS in the reference of an input, which runs a process within a
/// process (`AbstractInputProvider`).
const OWN_WPS: &[u8] = b"geoserver/wps";

/// The part of a KVP response form that leaves an output on the GeoServer that ran the process.
const AS_REFERENCE: &[u8] = b"asreference";

/// Elements of an Execute whose attributes decide where its result goes.
const RESPONSE_FORMS: [&[u8]; 4] = [b"Execute", b"ResponseDocument", b"Output", b"RawDataOutput"];

/// Attributes of those, in lower case, by which a result stays on the GeoServer that ran the
/// process, or is made in the background. Only one that is `false` or `sync` does not do that.
const STAYS: [&[u8]; 4] = [b"storeexecuteresponse", b"status", b"asreference", b"mode"];

/// The effect of a request's processes on the catalog, ordered from harmless to harmful.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CatalogEffect {
    /// The request runs no process, or only processes that leave the catalog alone.
    None,
    /// A process of the request was not seen.
    Undetermined,
    /// A process of the request changes the catalog.
    Change,
}

/// The name of a process, `gs:PagedUnique` for instance, without regard to case.
///
/// It is the hash of the name, because every reading of a request carries it. A name that is made
/// to have the hash of another one is none that a GeoServer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessName(u64);

impl ProcessName {
    /// The longest name, in bytes.
    pub const MAX: usize = Word::CAPACITY;

    fn of(word: &Word) -> Option<Self> {
        let text = word.as_bytes();
        if text.is_empty() || !word.is_whole() || !text.is_ascii() {
            return None;
        }
        let lower = text.iter().map(u8::to_ascii_lowercase);
        Some(Self(fnv1a(lower)))
    }

    /// The name called `name` in configuration; `None` if no process can have it.
    pub fn from_name(name: &str) -> Option<Self> {
        let word = Word::of_value(name.as_bytes(), Encoding::Plain).ok()?;
        // A name with blanks around it is not the name of a process.
        let is_itself = word.as_bytes().len() == name.len();
        Self::of(&word).filter(|_| is_itself)
    }

    /// The name as it is written in `text`, if it is there.
    pub fn written_in(self, text: &str) -> Option<&str> {
        text.split(|letter: char| !(letter.is_ascii_alphanumeric() || "_:.-".contains(letter)))
            .find(|name| Self::from_name(name) == Some(self))
    }
}

/// The processes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processes {
    pub catalog: CatalogEffect,
    named: Named,
    /// True if the request may end before its processes do, or leave a result on the GeoServer
    /// that ran them.
    may_stay: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    None,
    One(ProcessName),
    Several,
}

impl Processes {
    /// None at all.
    pub const NONE: Self = Self {
        catalog: CatalogEffect::None,
        named: Named::None,
        may_stay: false,
    };

    /// None, of a request whose result may stay on the GeoServer that ran its processes.
    pub(super) const STAYING: Self = Self {
        may_stay: true,
        ..Self::NONE
    };

    /// Some that were not seen.
    pub(super) const UNDETERMINED: Self = Self {
        catalog: CatalogEffect::Undetermined,
        named: Named::Several,
        may_stay: true,
    };

    /// The one process that the request runs.
    pub(super) fn called(word: &Word) -> Self {
        let changes = str::from_utf8(word.as_bytes()).is_ok_and(changes_catalog);
        match ProcessName::of(word) {
            _ if changes => Self {
                catalog: CatalogEffect::Change,
                named: Named::Several,
                may_stay: false,
            },
            Some(name) => Self {
                catalog: CatalogEffect::None,
                named: Named::One(name),
                may_stay: false,
            },
            None => Self::UNDETERMINED,
        }
    }

    /// The same for a request that is certain to run a process: if it names none, the process was
    /// not seen.
    pub(super) fn of_execution(self) -> Self {
        if self.named == Named::None {
            Self::UNDETERMINED
        } else {
            self
        }
    }

    /// These, and `others` of the same request.
    pub(super) fn beside(self, others: Self) -> Self {
        let named = match (self.named, others.named) {
            (Named::None, named) | (named, Named::None) => named,
            (Named::One(one), Named::One(other)) if one == other => Named::One(one),
            _ => Named::Several,
        };
        Self {
            catalog: self.catalog.max(others.catalog),
            named,
            may_stay: self.may_stay || others.may_stay,
        }
    }

    /// The name of the process, if it is certain that the request runs this one and no other.
    pub fn only(&self) -> Option<ProcessName> {
        match self.named {
            Named::One(name) if self.catalog == CatalogEffect::None => Some(name),
            Named::None | Named::One(_) | Named::Several => None,
        }
    }
}

impl Processes {
    /// The name of the process, if it is certain that the request runs this one and no other, and
    /// that its result is the answer: nothing runs on in the background or is left behind.
    pub fn only_at_once(&self) -> Option<ProcessName> {
        self.only().filter(|_| !self.may_stay)
    }
}

/// True if the name of a process shows that it changes the catalog.
pub fn changes_catalog(name: &str) -> bool {
    let name = name.as_bytes();
    CHANGES.iter().any(|part| {
        name.windows(part.len())
            .any(|window| window.eq_ignore_ascii_case(part))
    })
}

/// True if the value of a parameter may refer to GeoServer's own WPS.
pub(super) fn refers_to_own_wps(value: &[u8], encoding: Encoding) -> bool {
    contains(value, OWN_WPS, encoding)
}

/// The effect of a parameter that orders to store the response or to run in the background.
pub(super) fn of_staying(value: &[u8], encoding: Encoding) -> Processes {
    match Word::of_value(value, encoding) {
        Ok(word) if word.is("false") || word.is("sync") || word.as_bytes().is_empty() => {
            Processes::NONE
        }
        Ok(_) | Err(_) => Processes::STAYING,
    }
}

/// The effect of the parameter that lists the outputs of a response document.
pub(super) fn of_outputs(value: &[u8], encoding: Encoding) -> Processes {
    if contains(value, AS_REFERENCE, encoding) {
        Processes::STAYING
    } else {
        Processes::NONE
    }
}

/// True if the value of a parameter contains `text`, whose first letter occurs in it once, or
/// cannot be decoded.
fn contains(value: &[u8], text: &[u8], encoding: Encoding) -> bool {
    let mut seen = 0;
    for byte in decode(value, encoding) {
        let Ok(byte) = byte else { return true };
        let byte = byte.to_ascii_lowercase();
        // No letter but the first equals the first, so a failed match can begin only here.
        seen = match (byte == text[seen], byte == text[0]) {
            (true, _) => seen + 1,
            (false, true) => 1,
            (false, false) => 0,
        };
        if seen == text.len() {
            return true;
        }
    }
    false
}

/// The processes of an Execute `document` that was read to its end: its own, and those that its
/// inputs refer to.
pub(super) fn of_document(document: &[u8]) -> Processes {
    match walk(document) {
        Some(processes) => processes.of_execution(),
        None => Processes::UNDETERMINED,
    }
}

/// `None` if the document has something that other parsers may read as another process.
fn walk(document: &[u8]) -> Option<Processes> {
    let mut tags = Tags::of(document);
    let mut found = Processes::NONE;
    let mut depth = 0_usize;
    // The depths of the Execute elements that are open.
    let mut executions: Vec<usize> = Vec::new();
    loop {
        match tags.next()? {
            Tag::Start(element) => {
                check(&element)?;
                found = found.beside(response_form(&element)?);
                match element.local_name().as_ref() {
                    b"Execute" => executions.push(depth),
                    b"Identifier" => {
                        let name = Word::of_value(tags.text()?, Encoding::Plain).ok()?;
                        let is_of_process = executions.last().is_some_and(|at| at + 1 == depth);
                        if is_of_process {
                            found = found.beside(Processes::called(&name));
                        }
                        continue;
                    }
                    _ => {}
                }
                depth += 1;
            }
            Tag::Empty(element) => {
                check(&element)?;
                found = found.beside(response_form(&element)?);
            }
            Tag::End => {
                depth = depth.checked_sub(1)?;
                if executions.last() == Some(&depth) {
                    executions.pop();
                }
            }
            Tag::EndOfDocument => return (depth == 0).then_some(found),
        }
    }
}

/// Whether the attributes of an element leave a result behind; `None` if they cannot be read.
fn response_form(element: &BytesStart<'_>) -> Option<Processes> {
    let mut form = Processes::NONE;
    if !RESPONSE_FORMS.contains(&element.local_name().as_ref()) {
        return Some(form);
    }
    for attribute in element.attributes() {
        let attribute = attribute.ok()?;
        if !is_name(attribute.key.as_ref()) {
            return None;
        }
        let name = attribute.key.local_name();
        let stays = STAYS
            .iter()
            .any(|stays| name.as_ref().eq_ignore_ascii_case(stays));
        if stays {
            form = form.beside(of_staying(&attribute.value, Encoding::Plain));
        }
    }
    Some(form)
}

/// Refuses an element that brings an Execute from elsewhere: a body by reference, or the
/// parameters of GeoServer's own WPS in the address of a reference.
fn check(element: &BytesStart<'_>) -> Option<()> {
    match element.local_name().as_ref() {
        b"BodyReference" => return None,
        b"Reference" => {}
        _ => return Some(()),
    }
    for attribute in element.attributes() {
        let attribute = attribute.ok()?;
        let value = attribute.value.as_ref();
        let is_plain = !value.windows(2).any(|pair| pair == b"&#");
        let is_own = refers_to_own_wps(value, Encoding::Plain);
        let is_own_without_parameters = value
            .get(value.len().saturating_sub(OWN_WPS.len())..)
            .is_some_and(|end| end.eq_ignore_ascii_case(OWN_WPS));
        if !is_plain || is_own && !is_own_without_parameters {
            return None;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(document: &str) -> (CatalogEffect, Option<&str>) {
        let found = of_document(document.as_bytes());
        let only = found.only().and_then(|name| name.written_in(document));
        (found.catalog, only)
    }

    fn execute(inside: &str) -> String {
        format!(
            "<wps:Execute xmlns:wps='w' xmlns:ows='o' xmlns:xlink='x' service='WPS'>{inside}</wps:Execute>"
        )
    }

    const BUFFER: &str = "<ows:Identifier>JTS:buffer</ows:Identifier>";
    const IMPORT: &str = "<ows:Identifier>gs:Import</ows:Identifier>";

    #[test]
    fn a_process_is_known_by_the_identifier_of_its_execute_and_not_by_those_of_inputs() {
        let input = "<wps:Input><ows:Identifier>import</ows:Identifier></wps:Input>";
        assert_eq!(
            of(&execute(&format!("{BUFFER}{input}"))),
            (CatalogEffect::None, Some("JTS:buffer"))
        );
        assert_eq!(of(&execute(IMPORT)).0, CatalogEffect::Change);
    }

    #[test]
    fn a_process_within_a_process_counts_too() {
        let chained = |inner: &str, href: &str| {
            let body = format!("<wps:Body>{}</wps:Body>", execute(inner));
            execute(&format!(
                "{BUFFER}<wps:Input><wps:Reference xlink:href='{href}'>{body}</wps:Reference></wps:Input>"
            ))
        };
        let own = "http://geoserver/wps";
        assert_eq!(of(&chained(IMPORT, own)).0, CatalogEffect::Change);
        assert_eq!(
            of(&chained("<ows:Identifier>gs:Clip</ows:Identifier>", own)),
            (CatalogEffect::None, None)
        );
        assert_eq!(
            of(&chained(BUFFER, own)),
            (CatalogEffect::None, Some("JTS:buffer"))
        );
        for odd in [
            "http://geoserver/wps?Identifier=gs:%49mport",
            "http://geoserver/&#119;ps",
        ] {
            assert_eq!(of(&chained(BUFFER, odd)).0, CatalogEffect::Undetermined);
        }
    }

    #[test]
    fn a_result_that_may_stay_on_one_geoserver_is_no_answer_at_once() {
        let at_once = |form: &str| {
            let found = of_document(execute(&format!("{BUFFER}{form}")).as_bytes());
            assert!(found.only().is_some(), "{form}");
            found.only_at_once().is_some()
        };
        for form in [
            "",
            "<wps:ResponseForm><wps:RawDataOutput mimeType='a'/></wps:ResponseForm>",
            "<wps:ResponseDocument lineage='true' storeExecuteResponse='false' status=' false '/>",
            "<wps:ResponseDocument><wps:Output asReference='false'/></wps:ResponseDocument>",
        ] {
            assert!(at_once(form), "{form}");
        }
        for form in [
            "<wps:ResponseDocument storeExecuteResponse='true'/>",
            "<wps:ResponseDocument status='1'/>",
            "<wps:ResponseDocument status='fals&#101;'/>",
            "<wps:ResponseDocument><wps:Output wps:asReference='true'></wps:Output></wps:ResponseDocument>",
            "<wps:Execute mode='async'/>",
        ] {
            assert!(!at_once(form), "{form}");
        }
        let broken = "<wps:Output asReference=true/>";
        let found = of_document(execute(&format!("{BUFFER}{broken}")).as_bytes());
        assert_eq!(found.only_at_once(), None);
    }

    #[test]
    fn an_identifier_that_is_not_one_plain_text_determines_nothing() {
        for odd in [
            "<ows:Identifier>gs:I&#109;port</ows:Identifier>",
            "<ows:Identifier>gs:Im<!-- -->port</ows:Identifier>",
            "<ows:Identifier>gs:Im<![CDATA[port]]></ows:Identifier>",
            "<ows:Identifier><![CDATA[gs:Clip]]></ows:Identifier>",
            "<ows:Identifier>gs:Im<?x ?>port</ows:Identifier>",
            "<ows:Identifier/>",
            "",
            "<wps:BodyReference xlink:href='http://a'/><ows:Identifier>a</ows:Identifier>",
        ] {
            assert_eq!(of(&execute(odd)).0, CatalogEffect::Undetermined, "{odd}");
        }
        assert_eq!(of("<wps:Execute><a>").0, CatalogEffect::Undetermined);
    }

    #[test]
    fn a_reference_to_the_own_wps_is_found_however_it_is_escaped() {
        let refers = |value: &str| refers_to_own_wps(value.as_bytes(), Encoding::Form);
        assert!(refers(
            "a=@xlink:href=http%3A%2F%2Fgeoserver%2Fwps%3Fidentifier=a"
        ));
        assert!(refers("geogeoserver/wps") && refers("GEOSERVER/%77ps") && refers("%zz"));
        assert!(!refers("geoserver/wfs") && !refers("geoserverwps") && !refers(""));
    }
}
