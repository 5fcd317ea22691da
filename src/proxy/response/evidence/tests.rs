//! The judgement of answers, with answers as GeoServers, containers and gateways give them.

use super::*;
use crate::ogc::fault_texts::NODE_FAULTS;

const OOM: &str = "java.lang.OutOfMemoryError: Java heap space";

struct Answer {
    status: u16,
    content_type: &'static str,
    body: String,
    asked: JudgedRequest<'static>,
}

fn answer(status: u16, content_type: &'static str, body: impl Into<String>) -> Answer {
    let asked = JudgedRequest {
        class: RequestClass::Map,
        target: b"/geoserver/wms?request=GetMap",
        has_workspace: false,
        context: "/geoserver",
        body_prefix: b"",
        is_body_known: true,
    };
    Answer {
        status,
        content_type,
        body: body.into(),
        asked,
    }
}

impl Answer {
    fn to(mut self, class: RequestClass, target: &'static [u8]) -> Self {
        self.asked = JudgedRequest {
            class,
            target,
            ..self.asked
        };
        self
    }

    fn finding(&self) -> AnswerFinding {
        let mut head = ResponseHeader::build(self.status, None).unwrap();
        head.insert_header("Content-Type", self.content_type)
            .unwrap();
        match judge_head(&head, &self.asked) {
            HeadVerdict::Settled(finding) => finding,
            HeadVerdict::Sniff(mut inspector) => {
                self.body
                    .as_bytes()
                    .chunks(7)
                    .for_each(|chunk| inspector.inspect(chunk));
                inspector.finding(&self.asked)
            }
        }
    }

    fn outcome(&self) -> Option<Outcome> {
        self.finding().outcome
    }
}

fn wms(code: &str, text: &str) -> String {
    format!(
        "<?xml version='1.0'?><ServiceExceptionReport><ServiceException code='{code}'>{text}</ServiceException></ServiceExceptionReport>"
    )
}

fn ows(code: &str, text: &str) -> String {
    format!(
        "<ows:ExceptionReport><ows:Exception exceptionCode=\"{code}\"><ows:ExceptionText>{text}</ows:ExceptionText></ows:Exception>"
    )
}

fn status(status: u16) -> Option<Outcome> {
    Some(Outcome::Failure(Cause::Status(status)))
}

fn node_fault(text: &str) -> Option<Outcome> {
    Some(Outcome::Failure(Cause::NodeFault(text.to_owned())))
}

#[test]
fn images_are_settled_by_their_head() {
    for content_type in [
        "image/png",
        "image/jpeg",
        "image/svg+xml",
        "application/pdf",
        "application/x-protobuf",
    ] {
        let mut head = ResponseHeader::build(200, None).unwrap();
        head.insert_header("Content-Type", content_type).unwrap();
        let verdict = judge_head(&head, &answer(200, "", "").asked);
        assert!(
            matches!(
                verdict,
                HeadVerdict::Settled(AnswerFinding {
                    outcome: Some(Outcome::Success),
                    ..
                })
            ),
            "{content_type}"
        );
    }
}

#[test]
fn data_is_success_whatever_words_are_in_it() {
    let collection = format!("<wfs:FeatureCollection><title>ExceptionReport {OOM}</title>");
    assert_eq!(
        answer(200, "text/xml; subtype=gml/3.1.1", collection).outcome(),
        Some(Outcome::Success)
    );
    let geojson = format!(
        r#"{{"type":"FeatureCollection","features":[{{"properties":{{"exceptions":"{OOM}"}}}}]}}"#
    );
    assert_eq!(
        answer(200, "application/json;charset=UTF-8", geojson).outcome(),
        Some(Outcome::Success)
    );
}

#[test]
fn a_200_that_reports_a_broken_node_is_a_failure_in_every_shape() {
    let se_xml = answer(
        200,
        "application/vnd.ogc.se_xml;charset=UTF-8",
        wms("", OOM),
    );
    assert_eq!(
        se_xml.finding(),
        AnswerFinding {
            is_service_exception: true,
            ..AnswerFinding::only(node_fault(OOM))
        }
    );
    assert_eq!(
        answer(200, "application/xml", ows("NoApplicableCode", OOM)).outcome(),
        node_fault(OOM)
    );
    let json = format!(
        r#"{{"version":"1.3.0","exceptions":[{{"code":"noApplicableCode","text":"{OOM}"}}]}}"#
    );
    assert_eq!(
        answer(200, "application/json", json).outcome(),
        node_fault(OOM)
    );
}

#[test]
fn every_known_node_fault_is_recognised() {
    for fault in NODE_FAULTS {
        assert_eq!(
            answer(200, "text/xml", wms("internalError", fault)).outcome(),
            node_fault(fault)
        );
    }
}

#[test]
fn faults_of_clients_are_no_evidence_but_are_counted() {
    let faults = [
        answer(
            200,
            "text/xml",
            wms("LayerNotDefined", "Could not find layer x"),
        ),
        answer(
            200,
            "text/xml",
            wms("InvalidParameterValue", &format!("unknown style {OOM}")),
        ),
        answer(
            400,
            "application/xml",
            ows("InvalidParameterValue", "Feature type x unknown"),
        ),
        answer(
            404,
            "application/xml",
            ows("NotFound", "no such stored query"),
        ),
        answer(
            500,
            "application/xml",
            ows("OperationProcessingFailed", "bad filter"),
        ),
        answer(
            200,
            "text/xml",
            wms("NoApplicableCode", "Rendering process failed"),
        ),
    ];
    for fault in faults {
        let finding = fault.finding();
        assert_eq!(
            (finding.outcome, finding.is_service_exception),
            (None, true),
            "{}",
            fault.body
        );
    }
}

#[test]
fn an_unknown_layer_is_distinguished_from_other_mistakes() {
    let tile = |status, body: &str| {
        answer(status, "text/plain", body).to(RequestClass::Tile, b"/geoserver/gwc/service/wmts")
    };
    let ignorant = [
        answer(
            200,
            "text/xml",
            wms("LayerNotDefined", "Could not find layer x"),
        ),
        answer(
            200,
            "application/json",
            r#"{"version":"1.3.0","exceptions":[{"code":"LayerNotDefined","text":"x"}]}"#,
        ),
        answer(
            400,
            "application/xml",
            ows("InvalidParameterValue", "Feature type x unknown"),
        ),
        answer(
            404,
            "application/xml",
            ows(
                "NoSuchCoverage",
                "Could not find the requested coverage(s): x",
            ),
        ),
        tile(
            400,
            "Unknown layer a:b. Check the logfiles, it may not have loaded properly.",
        ),
    ];
    ignorant
        .into_iter()
        .for_each(|answer| assert!(answer.finding().is_ignorant, "{}", answer.body));
    let mistaken = [
        answer(
            200,
            "text/xml",
            wms("InvalidParameterValue", "unknown format"),
        ),
        answer(
            400,
            "application/xml",
            ows("InvalidParameterValue", "bad filter"),
        ),
        answer(200, "text/xml", wms("", OOM)),
        tile(400, "Coverage [0,0] is out of range"),
        answer(200, "image/png", "LayerNotDefined"),
        answer(200, "text/xml", wms("LayerNotDefined", "x"))
            .to(RequestClass::Transaction, b"/geoserver/wfs"),
    ];
    mistaken
        .into_iter()
        .for_each(|answer| assert!(!answer.finding().is_ignorant, "{}", answer.body));
}

#[test]
fn a_404_below_a_workspace_may_be_a_catalog_without_it() {
    let mut page = answer(404, "text/html", "<h1>HTTP Status 404</h1>")
        .to(RequestClass::Map, b"/geoserver/geor/wms?request=GetMap");
    assert!(!page.finding().is_ignorant);
    page.asked.has_workspace = true;
    assert_eq!((page.finding().is_ignorant, page.outcome()), (true, None));
}

#[test]
fn a_text_the_client_sent_itself_is_no_evidence() {
    let echo = || {
        answer(
            200,
            "text/xml",
            wms(
                "NoApplicableCode",
                "could not parse filter: Too many open files",
            ),
        )
    };
    assert!(echo().outcome().is_some());
    assert_eq!(
        echo()
            .to(
                RequestClass::Map,
                b"/geoserver/wms?cql_filter=Too%20many+open%20FILES"
            )
            .outcome(),
        None
    );
    let mut posted = echo();
    posted.asked.body_prefix = b"<Filter>Too many open files</Filter>";
    assert_eq!(posted.outcome(), None);
    posted.asked.body_prefix = b"<Filter>Too &#109;any&#x20;open files</Filter>";
    assert_eq!(posted.outcome(), None, "as XML writes it");
    assert_eq!(
        echo()
            .to(
                RequestClass::Map,
                b"/geoserver/wms?cql_filter=Too%2520many+open%20FILES"
            )
            .outcome(),
        None
    );
    posted.asked.body_prefix = b"<Filter>";
    assert!(posted.outcome().is_some());
    posted.asked.is_body_known = false;
    assert_eq!(posted.outcome(), None, "what was not read may hold it");
}

#[test]
fn a_services_500_is_a_failure_and_that_of_rest_is_not() {
    let page = || answer(500, "text/html", "<html>NullPointerException</html>");
    assert_eq!(page().outcome(), status(500));
    assert_eq!(
        page()
            .to(RequestClass::Admin, b"/geoserver/rest/layers")
            .outcome(),
        None
    );
    let named = answer(
        500,
        "text/html",
        "<h1>500</h1><pre>org.x.DataException: no table\n\tat y</pre>",
    )
    .finding();
    assert_eq!(
        (named.outcome, named.exception.as_str()),
        (status(500), "org.x.DataException: no table")
    );
    let broken = answer(500, "text/plain", format!("{OOM}\n\tat x"))
        .to(RequestClass::Admin, b"/geoserver/rest/layers");
    assert_eq!(
        broken.outcome(),
        node_fault("OutOfMemoryError: Java heap space")
    );
}

#[test]
fn gateways_and_containers_errors_are_failures() {
    for code in [502, 503, 504] {
        assert_eq!(
            answer(code, "text/html", "<h1>oops</h1>").outcome(),
            status(code)
        );
    }
}

#[test]
fn a_refusal_by_control_flow_is_no_fault() {
    let page = "<html>Requested timeout out while waiting to be executed, please lower your request rate</html>";
    assert_eq!(
        answer(503, "text/html;charset=utf-8", page).outcome(),
        Some(Outcome::Busy)
    );
    assert_eq!(
        answer(429, "text/html", "Too many requests").outcome(),
        Some(Outcome::Busy)
    );
    let mut head = ResponseHeader::build(503, None).unwrap();
    head.insert_header("X-Control-flow-delay-ms", "20000")
        .unwrap();
    let verdict = judge_head(&head, &answer(503, "", "").asked);
    assert!(matches!(
        verdict,
        HeadVerdict::Settled(AnswerFinding {
            outcome: Some(Outcome::Busy),
            ..
        })
    ));
}

#[test]
fn a_404_where_a_service_must_be_means_the_webapp_is_not_there() {
    let page = |target| {
        answer(404, "text/html;charset=utf-8", "<h1>Not found</h1>")
            .to(RequestClass::Map, target)
            .outcome()
    };
    assert_eq!(page(b"/geoserver/wms?request=GetMap"), status(404));
    assert_eq!(page(b"/geoserver/ows"), status(404));
    assert_eq!(page(b"/geoserver/topp/wms?request=GetMap"), None);
    assert_eq!(page(b"/geoserver/styles/none.sld"), None);
    assert_eq!(page(b"/wms"), None);
}

#[test]
fn other_4xx_and_redirects_do_not_count_against_anybody() {
    for code in [400, 401, 403, 405, 413] {
        assert_eq!(answer(code, "text/html", "no").outcome(), None, "{code}");
    }
    assert_eq!(answer(302, "", "").outcome(), Some(Outcome::Success));
    assert_eq!(answer(304, "", "").outcome(), Some(Outcome::Success));
}

#[test]
fn a_truncated_answer_is_judged_by_the_part_that_arrived() {
    let broken = format!("<ServiceExceptionReport><ServiceException>{OOM}");
    assert_eq!(answer(200, "text/xml", broken).outcome(), node_fault(OOM));
    assert_eq!(
        answer(200, "text/xml", "").outcome(),
        Some(Outcome::Success)
    );
}
