//! WPS: processes that run at once or in the background. Only one instance knows of a process that
//! runs in the background.

use super::answer::Answer;
use super::capabilities_document::{XML, answered};
use super::dispatch::OwsCall;
use super::exception::{ServiceException, escape};
use super::life::Life;
use super::ows::{base_url, no_such_operation};
use super::request::Request;
use super::xml;

pub(super) fn answer(life: &Life, request: &Request, call: &OwsCall<'_>) -> Answer {
    match () {
        () if call.requests("GetCapabilities") => capabilities(life, request),
        () if call.requests("DescribeProcess") => {
            Answer::ok("text/xml", respond("ProcessDescriptions", DESCRIPTION))
        }
        () if call.requests("Execute") => execute(life, request, call),
        () if ["GetExecutionStatus", "GetExecutionResult", "Dismiss"]
            .iter()
            .any(|name| call.requests(name)) =>
        {
            execution(life, request, call)
        }
        () => no_such_operation(call),
    }
}

const DESCRIPTION: &str = "<ProcessDescription wps:processVersion=\"1.0.0\" statusSupported=\"true\" storeSupported=\"true\">\
    <ows:Identifier>gs:Bounds</ows:Identifier><ows:Title>Bounds</ows:Title><DataInputs><Input maxOccurs=\"1\" minOccurs=\"1\">\
    <ows:Identifier>features</ows:Identifier><ows:Title>features</ows:Title><LiteralData/></Input></DataInputs><ProcessOutputs><Output>\
    <ows:Identifier>bounds</ows:Identifier><ows:Title>bounds</ows:Title><LiteralOutput/></Output></ProcessOutputs></ProcessDescription>";

/// The processes are the same on every instance, whatever its catalog has.
fn capabilities(life: &Life, request: &Request) -> Answer {
    let number = life.catalog().update_sequence;
    let href = escape(&format!("{}/wps?", base_url(request))).into_owned();
    let mut out = format!(
        "{XML}<wps:Capabilities xmlns:wps=\"http://www.opengis.net/wps/1.0.0\" xmlns:ows=\"http://www.opengis.net/ows/1.1\" \
         xmlns:xlink=\"http://www.w3.org/1999/xlink\" service=\"WPS\" version=\"1.0.0\" updateSequence=\"{number}\">\n\
         <ows:ServiceIdentification><ows:Title>Prototype GeoServer WPS</ows:Title><ows:ServiceType>WPS</ows:ServiceType>\
         <ows:ServiceTypeVersion>1.0.0</ows:ServiceTypeVersion></ows:ServiceIdentification>\n<ows:OperationsMetadata>"
    );
    for operation in ["GetCapabilities", "DescribeProcess", "Execute"] {
        out.push_str(&format!(
            "<ows:Operation name=\"{operation}\"><ows:DCP><ows:HTTP><ows:Get xlink:href=\"{href}\"/><ows:Post xlink:href=\"{href}\"/>\
             </ows:HTTP></ows:DCP></ows:Operation>"
        ));
    }
    out.push_str("</ows:OperationsMetadata>\n<wps:ProcessOfferings>");
    for process in ["gs:Bounds", "gs:Download", "gs:Import"] {
        out.push_str(&format!(
            "<wps:Process wps:processVersion=\"1.0.0\"><ows:Identifier>{process}</ows:Identifier><ows:Title>{process}</ows:Title></wps:Process>"
        ));
    }
    out.push_str("</wps:ProcessOfferings></wps:Capabilities>\n");
    answered("application/xml", out)
}

fn execute(life: &Life, request: &Request, call: &OwsCall<'_>) -> Answer {
    let process = call
        .kvp
        .get("identifier")
        .map(std::borrow::Cow::into_owned)
        .or_else(|| xml::first_text(call.body, "Identifier"));
    let Some(process) = process else {
        return ServiceException::new(
            "MissingParameterValue",
            "Identifier",
            "Missing process identifier",
        )
        .answer(call.dialect, &call.kvp);
    };
    life.note_write("Execute", request);
    let identifier = identified(&process);
    let is_asynchronous = call.kvp.is("storeexecuteresponse", "true")
        || xml::first_attribute(call.body, &["storeExecuteResponse", "status"])
            .is_some_and(|value| value == "true");
    if !is_asynchronous {
        let status = "<wps:Status><wps:ProcessSucceeded>Process succeeded.</wps:ProcessSucceeded></wps:Status>";
        return Answer::ok(
            "text/xml",
            respond("ExecuteResponse", &format!("{identifier}{status}")),
        );
    }
    let number = life.controls.dice.draw();
    let id = life.executions.begin(&life.name, number, &process);
    let location = format!(
        "{}/ows?service=WPS&version=1.0.0&request=GetExecutionStatus&executionId={id}",
        base_url(request)
    );
    let status =
        "<wps:Status><wps:ProcessAccepted>Process accepted.</wps:ProcessAccepted></wps:Status>";
    let accepted = respond("ExecuteResponse", &format!("{identifier}{status}"));
    let root = format!(
        "<wps:ExecuteResponse statusLocation=\"{}\"",
        escape(&location)
    );
    Answer::ok(
        "text/xml",
        accepted.replacen("<wps:ExecuteResponse", &root, 1),
    )
}

fn execution(life: &Life, request: &Request, call: &OwsCall<'_>) -> Answer {
    let id = call.kvp.get("executionid").unwrap_or_default();
    let known = if call.requests("Dismiss") {
        let dismissed = life.executions.dismiss(&id);
        if dismissed.is_some() {
            life.note_write("Dismiss", request);
        }
        dismissed
    } else {
        life.executions.process_of(&id)
    };
    let Some(process) = known else {
        return ServiceException::new(
            "NoApplicableCode",
            "executionId",
            format!("Unknown execution id {id}"),
        )
        .answer(call.dialect, &call.kvp);
    };
    let status =
        "<wps:Status><wps:ProcessSucceeded>Process succeeded.</wps:ProcessSucceeded></wps:Status>";
    let body = identified(&process) + status;
    Answer::ok("text/xml", respond("ExecuteResponse", &body))
}

fn identified(process: &str) -> String {
    format!(
        "<wps:Process wps:processVersion=\"1.0.0\"><ows:Identifier>{0}</ows:Identifier><ows:Title>{0}</ows:Title></wps:Process>",
        escape(process)
    )
}

fn respond(root: &str, body: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><wps:{root} xmlns:wps=\"http://www.opengis.net/wps/1.0.0\" \
         xmlns:ows=\"http://www.opengis.net/ows/1.1\" service=\"WPS\" version=\"1.0.0\">{body}</wps:{root}>"
    )
}
