//! Reads exception reports: GeoServer's answers to a request that failed, often with status 200.
//!
//! WMS writes `ServiceExceptionReport`, the OWS services `ExceptionReport` with any prefix, and
//! both write JSON on request. The head of a body distinguishes a report from data, and its first
//! exception shows the cause. Bodies may end anywhere and hold anything: no function here fails; it
//! returns nothing if it finds nothing.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// Maximum length of an exception's text in characters. Java appends whole stack traces.
pub const MAX_TEXT: usize = 300;

/// Bytes of a JSON body that are searched for its first keys.
const JSON_HEAD: usize = 256;

/// The kind of document that the head of a body begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyHead {
    /// The head ends before the kind is certain.
    Incomplete,
    /// XML with this root element, without its prefix.
    Xml(Box<str>),
    /// JSON or a JSONP call that begins like a report.
    JsonReport,
    /// Anything else.
    Other,
}

impl BodyHead {
    /// Returns the exception that the beginning of an answer holds.
    pub fn of(head: &[u8]) -> Self {
        let head = head
            .strip_prefix(b"\xef\xbb\xbf")
            .unwrap_or(head)
            .trim_ascii_start();
        match head.first() {
            None => Self::Incomplete,
            Some(b'<') => Self::of_xml(head),
            Some(_) => Self::of_json(head),
        }
    }

    /// True if the answer is a report of an exception.
    pub fn is_report(&self) -> bool {
        match self {
            Self::Xml(root) => {
                matches!(root.as_ref(), "ServiceExceptionReport" | "ExceptionReport")
            }
            Self::JsonReport => true,
            Self::Incomplete | Self::Other => false,
        }
    }

    fn of_xml(head: &[u8]) -> Self {
        let mut reader = Reader::from_reader(head);
        loop {
            match reader.read_event() {
                Ok(Event::Start(root) | Event::Empty(root)) => return Self::Xml(local_name(&root)),
                Ok(
                    Event::Decl(_)
                    | Event::PI(_)
                    | Event::Comment(_)
                    | Event::DocType(_)
                    | Event::Text(_),
                ) => {}
                Ok(Event::End(_) | Event::CData(_) | Event::GeneralRef(_)) => return Self::Other,
                Ok(Event::Eof) | Err(_) => return Self::Incomplete,
            }
        }
    }

    /// Recognises `{"version": ..., "exceptions": [` and `parseResponse({"version": ...`. A feature
    /// collection starts with another key, so an attribute called `exceptions` does not make it a
    /// report.
    fn of_json(head: &[u8]) -> Self {
        let window = &head[..head.len().min(JSON_HEAD)];
        let Some(brace) = window.iter().position(|b| *b == b'{') else {
            return if head.len() < JSON_HEAD {
                Self::Incomplete
            } else {
                Self::Other
            };
        };
        let is_call = window[..brace]
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"_.$( \r\n".contains(b));
        let first_key = window[brace + 1..].trim_ascii_start();
        if !is_call
            || !(first_key.starts_with(b"\"version\"") || first_key.starts_with(b"\"exceptions\""))
        {
            return if is_call && first_key.len() < b"\"exceptions\"".len() {
                Self::Incomplete
            } else {
                Self::Other
            };
        }
        match find(window, b"\"exceptions\"") {
            Some(_) => Self::JsonReport,
            None if head.len() < JSON_HEAD => Self::Incomplete,
            None => Self::Other,
        }
    }
}

/// The first exception of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// `code` or `exceptionCode`, such as `LayerNotDefined`; empty without one.
    pub code: String,
    /// One line, cut to [`MAX_TEXT`].
    pub text: String,
}

impl Exception {
    /// Reads as much as there is of the first exception in `report`; `None` if there is none.
    pub fn first_of(report: &[u8]) -> Option<Self> {
        match BodyHead::of(report) {
            // Capabilities have an element of that name, too: it lists the supported exception
            // formats.
            head @ BodyHead::Xml(_) if head.is_report() => Self::first_of_xml(report),
            BodyHead::JsonReport => Some(Self::first_of_json(report)),
            BodyHead::Xml(_) | BodyHead::Incomplete | BodyHead::Other => None,
        }
    }

    fn first_of_xml(report: &[u8]) -> Option<Self> {
        let mut reader = Reader::from_reader(report);
        reader.config_mut().check_end_names = false;
        let mut found: Option<Self> = None;
        loop {
            match (reader.read_event(), &mut found) {
                (Ok(Event::Start(element)), None) if is_exception(&element) => {
                    found = Some(Self {
                        code: code_of(&element),
                        text: String::new(),
                    });
                }
                (Ok(Event::Empty(element)), None) if is_exception(&element) => {
                    return Some(Self {
                        code: code_of(&element),
                        text: String::new(),
                    });
                }
                (Ok(Event::Text(text)), Some(exception)) => {
                    exception.add(&String::from_utf8_lossy(&text))
                }
                (Ok(Event::CData(text)), Some(exception)) => {
                    exception.add(&String::from_utf8_lossy(&text))
                }
                (Ok(Event::GeneralRef(name)), Some(exception)) => exception.add_reference(&name),
                (Ok(Event::End(end)), Some(_)) if is_exception_name(end.local_name().as_ref()) => {
                    break;
                }
                (Ok(Event::Eof) | Err(_), _) => break,
                (Ok(_), _) => {}
            }
        }
        found.map(Self::in_one_line)
    }

    /// Reports in JSON are small and flat: the values after the first `"code"` and `"text"`.
    fn first_of_json(report: &[u8]) -> Self {
        let text = String::from_utf8_lossy(report);
        let value_of = |key: &str| {
            let after_key = &text[text.find(key)? + key.len()..];
            let quoted = after_key
                .trim_start()
                .strip_prefix(':')?
                .trim_start()
                .strip_prefix('"')?;
            let mut is_escaped = false;
            let end = quoted.find(|c| {
                let ends = c == '"' && !is_escaped;
                is_escaped = c == '\\' && !is_escaped;
                ends
            });
            Some(quoted[..end.unwrap_or(quoted.len())].replace("\\n", " "))
        };
        Self {
            code: value_of("\"code\"").unwrap_or_default(),
            text: value_of("\"text\"").unwrap_or_default(),
        }
        .in_one_line()
    }

    fn add(&mut self, text: &str) {
        if self.text.len() < MAX_TEXT * 2 {
            self.text.push_str(text);
        }
    }

    fn add_reference(&mut self, name: &[u8]) {
        let escaped = format!("&{};", String::from_utf8_lossy(name));
        let meant = quick_xml::escape::unescape(&escaped).map(|c| c.into_owned());
        self.add(meant.as_deref().unwrap_or(" "));
    }

    fn in_one_line(self) -> Self {
        let mut text = self.text.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some((cut, _)) = text.char_indices().nth(MAX_TEXT) {
            text.truncate(cut);
            text.push_str("...");
        }
        Self {
            code: self.code,
            text,
        }
    }
}

fn local_name(element: &BytesStart<'_>) -> Box<str> {
    String::from_utf8_lossy(element.local_name().as_ref()).into()
}

fn is_exception(element: &BytesStart<'_>) -> bool {
    is_exception_name(element.local_name().as_ref())
}

fn is_exception_name(local_name: &[u8]) -> bool {
    matches!(local_name, b"ServiceException" | b"Exception")
}

fn code_of(exception: &BytesStart<'_>) -> String {
    let codes = exception
        .attributes()
        .flatten()
        .filter(|a| matches!(a.key.local_name().as_ref(), b"code" | b"exceptionCode"));
    codes
        .map(|a| String::from_utf8_lossy(&a.value).into_owned())
        .next()
        .unwrap_or_default()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WMS_111: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<!DOCTYPE ServiceExceptionReport SYSTEM "http://gs/geoserver/schemas/wms/1.1.1/WMS_exception_1_1_1.dtd">
<ServiceExceptionReport version="1.1.1" >   <ServiceException code="LayerNotDefined" locator="layers">
      Could not find layer a&amp;b&#58;c
</ServiceException></ServiceExceptionReport>"#;
    const OWS_11: &str = r#"<?xml version="1.0"?><ows:ExceptionReport xmlns:ows="http://www.opengis.net/ows/1.1" version="2.0.0">
<ows:Exception exceptionCode="NoApplicableCode"><ows:ExceptionText>java.lang.OutOfMemoryError: Java heap space
at x</ows:ExceptionText></ows:Exception></ows:ExceptionReport>"#;
    const JSON: &str = r#"{"version":"1.3.0","exceptions":[{"code":"noApplicableCode","locator":"noLocator","text":"bad \"thing\"\nhere"}]}"#;

    fn exception(code: &str, text: &str) -> Option<Exception> {
        Some(Exception {
            code: code.to_owned(),
            text: text.to_owned(),
        })
    }

    #[test]
    fn reports_of_every_service_are_distinguished_from_data() {
        let reports = [
            WMS_111,
            OWS_11,
            JSON,
            "\u{feff} <ServiceExceptionReport/>",
            &format!("parseResponse({JSON})"),
        ];
        for report in reports {
            assert!(BodyHead::of(report.as_bytes()).is_report(), "{report}");
        }
        let data = [
            r#"<WMS_Capabilities version="1.3.0"><Service><Name>ServiceExceptionReport</Name>"#,
            r#"{"type":"FeatureCollection","features":[{"properties":{"exceptions":1}}]}"#,
            r#"{"version":"1.0","layers":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,
                35,36,37,38,39,40,41,42,43,44,45,46,47,48,49,50,51,52,53,54,55,56,57,58,59,60,61,62,63,64,65,66,67,68,69,70,71,72]}"#,
            "\u{89}PNG",
            "no features were found",
            "<html><body>ExceptionReport</body></html>",
        ];
        for body in data {
            assert!(!BodyHead::of(body.as_bytes()).is_report(), "{body}");
        }
    }

    #[test]
    fn a_truncated_head_is_incomplete() {
        for body in [
            "",
            "  ",
            "<?xml versi",
            "<?xml version=\"1.0\"?>\n",
            "<!-- long",
            "<ServiceExceptionRep",
            "{",
            "{\"vers",
            "callba",
        ] {
            assert_eq!(
                BodyHead::of(body.as_bytes()),
                BodyHead::Incomplete,
                "{body:?}"
            );
        }
    }

    #[test]
    fn the_first_exception_is_read_with_its_code_and_in_one_line() {
        assert_eq!(
            Exception::first_of(WMS_111.as_bytes()),
            exception("LayerNotDefined", "Could not find layer a&b:c")
        );
        assert_eq!(
            Exception::first_of(OWS_11.as_bytes()),
            exception(
                "NoApplicableCode",
                "java.lang.OutOfMemoryError: Java heap space at x"
            )
        );
        assert_eq!(
            Exception::first_of(JSON.as_bytes()),
            exception("noApplicableCode", r#"bad \"thing\" here"#)
        );
    }

    #[test]
    fn the_beginning_of_a_truncated_report_is_read() {
        let broken = &OWS_11[..OWS_11.find("heap").unwrap()];
        assert_eq!(
            Exception::first_of(broken.as_bytes()),
            exception("NoApplicableCode", "java.lang.OutOfMemoryError: Java")
        );
        assert_eq!(
            Exception::first_of(b"<ExceptionReport><Exception exceptionCode='a'/>"),
            exception("a", "")
        );
        assert_eq!(Exception::first_of(b"<ExceptionReport/>"), None);
        assert_eq!(Exception::first_of(b"\x89PNG"), None);
        assert_eq!(
            Exception::first_of(
                b"<WMS_Capabilities><Capability><Exception><Format>XML</Format></Exception>"
            ),
            None
        );
    }

    #[test]
    fn a_long_text_is_cut() {
        let report = format!(
            "<ServiceExceptionReport><ServiceException>{}</ServiceException>",
            "\u{e9}".repeat(5000)
        );
        let text = Exception::first_of(report.as_bytes()).unwrap().text;
        assert_eq!(text.chars().count(), MAX_TEXT + 3);
        assert!(text.ends_with("..."));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let bytes = [WMS_111, OWS_11, JSON].concat().into_bytes();
        for cut in 0..bytes.len() {
            let mut body = bytes[cut..].to_vec();
            body.extend_from_slice(b"\xff<&#xFFFFFFFF;");
            Exception::first_of(&body);
            Exception::first_of(&bytes[..cut]);
        }
    }
}
