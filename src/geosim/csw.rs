//! CSW, as little of it as distinguishes reads from writes.

use super::answer::Answer;
use super::capabilities_document::{XML, answered};
use super::dispatch::OwsCall;
use super::exception::escape;
use super::life::Life;
use super::ows::{base_url, no_such_operation};
use super::request::Request;

const NAMESPACE: &str = "http://www.opengis.net/cat/csw/2.0.2";

pub(super) fn answer(life: &Life, request: &Request, call: &OwsCall<'_>) -> Answer {
    match () {
        () if call.requests("GetCapabilities") => capabilities(life, request),
        () if call.requests("GetRecords") || call.requests("GetRecordById") => records(life, call),
        () if call.requests("DescribeRecord") || call.requests("GetDomain") => {
            respond(&format!("{}Response", call.operation), "")
        }
        () if call.requests("Transaction") || call.requests("Harvest") => {
            life.note_write(&call.operation, request);
            respond(&format!("{}Response", call.operation), "")
        }
        () => no_such_operation(call),
    }
}

/// The answers to these are the same on every instance, whatever its catalog has.
fn capabilities(life: &Life, request: &Request) -> Answer {
    let number = life.catalog().update_sequence;
    let href = escape(&format!("{}/csw?", base_url(request))).into_owned();
    let mut out = format!(
        "{XML}<csw:Capabilities xmlns:csw=\"{NAMESPACE}\" xmlns:ows=\"http://www.opengis.net/ows\" \
         xmlns:ogc=\"http://www.opengis.net/ogc\" xmlns:xlink=\"http://www.w3.org/1999/xlink\" version=\"2.0.2\" \
         updateSequence=\"{number}\">\n<ows:ServiceIdentification><ows:Title>Catalog Server</ows:Title><ows:ServiceType>CSW\
         </ows:ServiceType><ows:ServiceTypeVersion>2.0.2</ows:ServiceTypeVersion></ows:ServiceIdentification>\n\
         <ows:ServiceProvider><ows:ProviderName>GeoServer</ows:ProviderName></ows:ServiceProvider>\n<ows:OperationsMetadata>"
    );
    for operation in ["GetCapabilities", "GetRecords", "GetRecordById"] {
        out.push_str(&format!(
            "<ows:Operation name=\"{operation}\"><ows:DCP><ows:HTTP><ows:Get xlink:href=\"{href}\"/><ows:Post xlink:href=\"{href}\"/>\
             </ows:HTTP></ows:DCP></ows:Operation>"
        ));
    }
    out.push_str("</ows:OperationsMetadata>\n<ogc:Filter_Capabilities/></csw:Capabilities>\n");
    answered("application/xml", out)
}

fn records(life: &Life, call: &OwsCall<'_>) -> Answer {
    let contents = life.catalog().contents;
    let count = contents.layers.len();
    let records: String = contents
        .layers
        .iter()
        .map(|(name, layer)| {
            format!(
                "<csw:SummaryRecord id=\"{0}\"><dc:identifier>{0}</dc:identifier><dc:title>{1}</dc:title></csw:SummaryRecord>",
                escape(name),
                escape(&layer.title)
            )
        })
        .collect();
    if call.requests("GetRecordById") {
        return respond("GetRecordByIdResponse", &records);
    }
    let results = format!(
        "<csw:SearchStatus timestamp=\"2026-01-01T00:00:00.000Z\"/><csw:SearchResults numberOfRecordsMatched=\"{count}\" \
         numberOfRecordsReturned=\"{count}\" nextRecord=\"0\" elementSet=\"summary\">{records}</csw:SearchResults>"
    );
    respond(&format!("{}Response", call.operation), &results)
}

fn respond(root: &str, body: &str) -> Answer {
    let root = escape(root);
    Answer::ok(
        "application/xml",
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><csw:{root} xmlns:csw=\"{NAMESPACE}\" \
             xmlns:dc=\"http://purl.org/dc/elements/1.1/\">{body}</csw:{root}>"
        ),
    )
}
