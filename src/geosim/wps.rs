//! WPS: processes that run at once or in the background. Only one instance knows of a process that
//! runs in the background.

use super::answer::Answer;
use super::capabilities;
use super::dispatch::OwsCall;
use super::exception::{ServiceException, escape};
use super::life::Life;
use super::ows::{base_url, no_such_operation};
use super::request::Request;
use super::xml;

pub(super) fn answer(life: &Life, request: &Request, call: &OwsCall<'_>) -> Answer {
    match () {
        () if call.asks("GetCapabilities") => capabilities::without_layers(
            life,
            "wps:Capabilities",
            "http://www.opengis.net/wps/1.0.0",
            "1.0.0",
        ),
        () if call.asks("DescribeProcess") => {
            Answer::ok("text/xml", respond("ProcessDescriptions", ""))
        }
        () if call.asks("Execute") => execute(life, request, call),
        () if ["GetExecutionStatus", "GetExecutionResult", "Dismiss"]
            .iter()
            .any(|name| call.asks(name)) =>
        {
            execution(life, request, call)
        }
        () => no_such_operation(call),
    }
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
    let identifier = format!(
        "<wps:Process><ows:Identifier>{}</ows:Identifier></wps:Process>",
        escape(&process)
    );
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
    let id = life.executions.begin(life.controls.dice.draw());
    let location = format!(
        "{}/ows?service=WPS&version=1.0.0&request=GetExecutionStatus&executionId={id}",
        base_url(request)
    );
    let status =
        "<wps:Status><wps:ProcessAccepted>Process accepted.</wps:ProcessAccepted></wps:Status>";
    let body = format!(
        "<wps:StatusLocation href=\"{}\"/>{identifier}{status}",
        escape(&location)
    );
    Answer::ok("text/xml", respond("ExecuteResponse", &body))
}

fn execution(life: &Life, request: &Request, call: &OwsCall<'_>) -> Answer {
    let id = call.kvp.get("executionid").unwrap_or_default();
    let is_known = if call.asks("Dismiss") {
        let was_known = life.executions.dismiss(&id);
        if was_known {
            life.note_write("Dismiss", request);
        }
        was_known
    } else {
        life.executions.knows(&id)
    };
    if !is_known {
        return ServiceException::new(
            "NoApplicableCode",
            "executionId",
            format!("Unknown execution id {id}"),
        )
        .answer(call.dialect, &call.kvp);
    }
    let status =
        "<wps:Status><wps:ProcessSucceeded>Process succeeded.</wps:ProcessSucceeded></wps:Status>";
    Answer::ok("text/xml", respond("ExecuteResponse", status))
}

fn respond(root: &str, body: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><wps:{root} xmlns:wps=\"http://www.opengis.net/wps/1.0.0\" \
         xmlns:ows=\"http://www.opengis.net/ows/1.1\" service=\"WPS\" version=\"1.0.0\">{body}</wps:{root}>"
    )
}
