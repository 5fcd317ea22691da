//! The requests of probes, and the judgement of their answers.
//!
//! GeoServer answers most errors with status 200, and a webapp container answers for a GeoServer
//! that is not there. So a probe passes only if it gets the answer that a client would need: a
//! valid image to its last byte, or the root element of capabilities. A map of the configured layer
//! proves the catalog, the renderer and the layer's data. Capabilities of a namespace that does not
//! exist are small and need neither a layer nor credentials, but prove less.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::internal_request::{Answer, bad_status};
use crate::cluster::{Cause, Outcome};
use crate::config::Config;
use crate::ogc::exception::{BodyHead, Exception};
use crate::ogc::fault_texts::CONTROL_FLOW_TIMEOUT;

/// Maximum size of an image. A map of 10 by 10 pixels has one or two KiB.
const MAX_IMAGE: usize = 64 << 10;

/// Bytes of capabilities that are read. The root element stands at the beginning; the rest can be
/// megabytes.
const MAX_HEAD: usize = 16 << 10;

const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// The chunk that ends every PNG, with its length and checksum.
const PNG_END: &[u8] = b"\0\0\0\0IEND\xaeB`\x82";

/// The request of a probe or canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbeRequest<'c> {
    /// A tiny map of this layer.
    Map(&'c str),
    /// Capabilities without layers.
    Capabilities,
}

impl<'c> ProbeRequest<'c> {
    /// The request of a health probe.
    pub(super) fn of_health(config: &'c Config) -> Self {
        config
            .health
            .probe_layer
            .as_deref()
            .map_or(Self::Capabilities, Self::Map)
    }

    /// The request of a canary.
    pub(super) fn of_canary(config: &'c Config) -> Self {
        config
            .catalog
            .canary_layer
            .as_deref()
            .map_or_else(|| Self::of_health(config), Self::Map)
    }

    /// Path and query.
    pub(super) fn target(self, context: &str) -> String {
        match self {
            Self::Map(layer) => format!(
                "{context}/wms?service=WMS&version=1.3.0&request=GetMap&layers={}&styles=&format=image/png&crs=EPSG:3857\
                 &bbox=-20037508,-20037508,20037508,20037508&width=10&height=10",
                utf8_percent_encode(layer, NON_ALPHANUMERIC)
            ),
            Self::Capabilities => {
                format!(
                    "{context}/wms?service=WMS&version=1.3.0&request=GetCapabilities&namespace=__none__"
                )
            }
        }
    }

    /// True if more of the answer could not change the verdict, or the bound is reached.
    pub(super) fn is_answered(self, answer: &Answer) -> bool {
        match self {
            Self::Map(_) if is_png(answer) => answer.body.len() > MAX_IMAGE,
            Self::Capabilities
                if answer.status == 200 && is_capabilities(&BodyHead::of(&answer.body)) =>
            {
                true
            }
            Self::Map(_) | Self::Capabilities => answer.body.len() > MAX_HEAD,
        }
    }

    /// The verdict: success if the answer is that of a working GeoServer.
    pub(super) fn judge(self, answer: &Answer) -> Outcome {
        let verdict = match answer.status {
            200 => self.judge_body(answer),
            429 => return Outcome::Busy,
            503 if answer.is_from_control_flow
                || contains(&answer.body, CONTROL_FLOW_TIMEOUT.as_bytes()) =>
            {
                return Outcome::Busy;
            }
            300..=399 => Err(Cause::Unexpected(format!(
                "a redirect to {:?}",
                shortened(&answer.location)
            ))),
            status => Err(bad_status(status)),
        };
        verdict.map_or_else(Outcome::Failure, |()| Outcome::Success)
    }

    fn judge_body(self, answer: &Answer) -> Result<(), Cause> {
        if let Some(exception) = Exception::first_of(&answer.body) {
            return Err(Cause::Unexpected(words_of(&exception)));
        }
        match self {
            Self::Map(_) if is_png(answer) => judge_image(answer),
            Self::Map(_) => Err(Cause::Unexpected(format!(
                "{:?} in place of image/png",
                shortened(&answer.content_type)
            ))),
            Self::Capabilities => match BodyHead::of(&answer.body) {
                head if is_capabilities(&head) => Ok(()),
                BodyHead::Xml(root) => Err(Cause::Unexpected(format!(
                    "<{}> in place of capabilities",
                    shortened(&root)
                ))),
                BodyHead::Incomplete if !answer.is_complete => Err(Cause::Truncated),
                BodyHead::Incomplete | BodyHead::JsonReport | BodyHead::Other => {
                    Err(Cause::Unexpected(format!(
                        "{:?} in place of capabilities",
                        shortened(&answer.content_type)
                    )))
                }
            },
        }
    }
}

fn judge_image(answer: &Answer) -> Result<(), Cause> {
    let body = &answer.body;
    if body.len() > MAX_IMAGE {
        return Err(Cause::Unexpected(format!(
            "an image of more than {} KiB for 10 by 10 pixels",
            MAX_IMAGE >> 10
        )));
    }
    if !body.starts_with(PNG_SIGNATURE) {
        return Err(Cause::Unexpected("image/png that is not a PNG".to_owned()));
    }
    if answer.is_complete && body.ends_with(PNG_END) {
        Ok(())
    } else {
        Err(Cause::Truncated)
    }
}

fn is_png(answer: &Answer) -> bool {
    let media_type = answer.content_type.split(';').next().unwrap_or_default();
    answer.status == 200 && media_type.trim().eq_ignore_ascii_case("image/png")
}

fn is_capabilities(head: &BodyHead) -> bool {
    matches!(head, BodyHead::Xml(root) if matches!(root.as_ref(), "WMS_Capabilities" | "WMT_MS_Capabilities"))
}

fn words_of(exception: &Exception) -> String {
    match (exception.code.as_str(), exception.text.as_str()) {
        ("", "") => "an exception without a text".to_owned(),
        ("", text) => text.to_owned(),
        (code, "") => code.to_owned(),
        (code, text) => format!("{code}: {text}"),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: ProbeRequest<'_> = ProbeRequest::Map("a:b");
    const CAPABILITIES: &str =
        r#"<?xml version="1.0"?><WMS_Capabilities version="1.3.0" updateSequence="7">"#;

    fn answer(status: u16, content_type: &str, body: impl AsRef<[u8]>) -> Answer {
        Answer {
            status,
            content_type: content_type.to_owned(),
            body: body.as_ref().to_vec(),
            is_complete: true,
            ..Answer::default()
        }
    }

    fn png() -> Vec<u8> {
        [PNG_SIGNATURE, b"pixels", PNG_END].concat()
    }

    fn unexpected(words: &str) -> Outcome {
        Outcome::Failure(Cause::Unexpected(words.to_owned()))
    }

    #[test]
    fn a_whole_png_passes() {
        assert_eq!(
            MAP.judge(&answer(200, "image/png", png())),
            Outcome::Success
        );
        assert_eq!(
            MAP.judge(&answer(200, "Image/PNG;mode=8bit", png())),
            Outcome::Success
        );
    }

    #[test]
    fn a_png_that_ends_too_early_or_never_does_not() {
        let half = &png()[..12];
        assert_eq!(
            MAP.judge(&answer(200, "image/png", half)),
            Outcome::Failure(Cause::Truncated)
        );
        let cut = Answer {
            is_complete: false,
            ..answer(200, "image/png", png())
        };
        assert_eq!(MAP.judge(&cut), Outcome::Failure(Cause::Truncated));
        let endless = answer(200, "image/png", vec![0; MAX_IMAGE + 1]);
        assert!(MAP.is_answered(&endless));
        assert_eq!(
            MAP.judge(&endless),
            unexpected("an image of more than 64 KiB for 10 by 10 pixels")
        );
    }

    #[test]
    fn an_answer_of_type_png_must_be_a_png() {
        let html = answer(200, "image/png", "<html>");
        assert_eq!(MAP.judge(&html), unexpected("image/png that is not a PNG"));
        assert_eq!(
            MAP.judge(&answer(200, "text/html", "<html>")),
            unexpected("\"text/html\" in place of image/png")
        );
    }

    #[test]
    fn an_exception_with_status_200_fails_with_its_text() {
        let report = "<ServiceExceptionReport><ServiceException code='LayerNotDefined'>Could not find layer a:b</ServiceException>";
        for probe in [MAP, ProbeRequest::Capabilities] {
            let verdict = probe.judge(&answer(200, "text/xml;charset=UTF-8", report));
            assert_eq!(
                verdict,
                unexpected("LayerNotDefined: Could not find layer a:b")
            );
        }
    }

    #[test]
    fn capabilities_pass_once_their_root_is_read() {
        let half = Answer {
            is_complete: false,
            ..answer(200, "text/xml", CAPABILITIES)
        };
        assert!(ProbeRequest::Capabilities.is_answered(&half));
        assert_eq!(ProbeRequest::Capabilities.judge(&half), Outcome::Success);
    }

    #[test]
    fn a_page_in_place_of_capabilities_fails() {
        let page = answer(200, "text/html", "<html><body>Welcome</body></html>");
        assert_eq!(
            ProbeRequest::Capabilities.judge(&page),
            unexpected("<html> in place of capabilities")
        );
        let text = answer(200, "text/plain", "hello");
        assert_eq!(
            ProbeRequest::Capabilities.judge(&text),
            unexpected("\"text/plain\" in place of capabilities")
        );
        let cut = Answer {
            is_complete: false,
            ..answer(200, "text/xml", "<?xml versio")
        };
        assert_eq!(
            ProbeRequest::Capabilities.judge(&cut),
            Outcome::Failure(Cause::Truncated)
        );
    }

    #[test]
    fn a_head_without_end_is_read_to_the_bound_only() {
        let endless = answer(
            200,
            "text/xml",
            [b"<!--".to_vec(), vec![b' '; MAX_HEAD]].concat(),
        );
        assert!(ProbeRequest::Capabilities.is_answered(&endless));
        assert!(MAP.is_answered(&endless));
    }

    #[test]
    fn control_flow_makes_an_upstream_busy_not_down() {
        let page = "<h1>Requested timeout out while waiting to be executed, please lower your request rate</h1>";
        assert_eq!(MAP.judge(&answer(503, "text/html", page)), Outcome::Busy);
        assert_eq!(MAP.judge(&answer(429, "text/html", "")), Outcome::Busy);
        let by_header = Answer {
            is_from_control_flow: true,
            ..answer(503, "", "")
        };
        assert_eq!(MAP.judge(&by_header), Outcome::Busy);
        assert_eq!(
            MAP.judge(&answer(503, "text/html", "starting")),
            Outcome::Failure(Cause::Status(503))
        );
    }

    #[test]
    fn other_statuses_fail_with_a_remedy() {
        assert_eq!(
            MAP.judge(&answer(404, "text/html", "")),
            Outcome::Failure(Cause::Status(404))
        );
        assert_eq!(
            MAP.judge(&answer(401, "", "")),
            Outcome::Failure(Cause::Credentials(401))
        );
        let moved = Answer {
            location: "http://x/login".to_owned(),
            ..answer(302, "", "")
        };
        assert_eq!(
            MAP.judge(&moved),
            unexpected("a redirect to \"http://x/login\"")
        );
    }
}
