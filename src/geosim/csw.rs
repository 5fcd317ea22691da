//! CSW, as little of it as distinguishes reads from writes.

use super::answer::Answer;
use super::capabilities;
use super::dispatch::OwsCall;
use super::exception::escape;
use super::life::Life;
use super::ows::no_such_operation;
use super::request::Request;

const NAMESPACE: &str = "http://www.opengis.net/cat/csw/2.0.2";

pub(super) fn answer(life: &Life, request: &Request, call: &OwsCall<'_>) -> Answer {
    match () {
        () if call.asks("GetCapabilities") => {
            capabilities::without_layers(life, "csw:Capabilities", NAMESPACE, "2.0.2")
        }
        () if call.asks("GetRecords") || call.asks("GetRecordById") => records(life, call),
        () if call.asks("DescribeRecord") || call.asks("GetDomain") => {
            respond(&format!("{}Response", call.operation), "")
        }
        () if call.asks("Transaction") || call.asks("Harvest") => {
            life.note_write(&call.operation, request);
            respond(&format!("{}Response", call.operation), "")
        }
        () => no_such_operation(call),
    }
}

fn records(life: &Life, call: &OwsCall<'_>) -> Answer {
    let contents = life.catalog().contents;
    let count = contents.layers.len();
    let records: String = contents
        .layers
        .iter()
        .map(|(name, layer)| {
            format!(
                "<csw:SummaryRecord id=\"{}\">{}</csw:SummaryRecord>",
                escape(name),
                escape(&layer.title)
            )
        })
        .collect();
    let results = format!(
        "<csw:SearchResults numberOfRecordsMatched=\"{count}\" numberOfRecordsReturned=\"{count}\">{records}</csw:SearchResults>"
    );
    respond(&format!("{}Response", call.operation), &results)
}

fn respond(root: &str, body: &str) -> Answer {
    let root = escape(root);
    Answer::ok(
        "application/xml",
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><csw:{root} xmlns:csw=\"{NAMESPACE}\">{body}</csw:{root}>"
        ),
    )
}
