//! Printing: MapFish Print 2, as the extension `printing` has it. A document stays in a file of the
//! instance that drew it.

use serde_json::json;

use super::answer::Answer;
use super::life::Life;
use super::ows::base_url;
use super::request::Request;

const JSON: &str = "application/json; charset=utf-8";
const PDF: &str = "application/pdf";
const DOCUMENT: &str = "%PDF-1.4\n%%EOF\n";
const SUFFIX: &str = ".printout";

/// True if a document is drawn for a request to `path`.
pub(super) fn draws(path: &str) -> bool {
    matches!(path, "/create.json" | "/print.pdf")
}

pub(super) fn answer(life: &Life, request: &Request, path: &str) -> Answer {
    let is_get = matches!(request.method(), "GET" | "HEAD");
    let is_post = request.method() == "POST";
    let base = format!("{}/pdf", base_url(request));
    match path {
        "/info.json" if is_get => {
            let offer = json!({
                "scales": [{"name": "1:25,000", "value": "25000.0"}],
                "dpis": [{"name": "190", "value": "190"}],
                "outputFormats": [{"name": "pdf"}],
                "layouts": [{"name": "A4 portrait", "map": {"width": 440, "height": 483}, "rotation": true}],
                "printURL": format!("{base}/print.pdf"),
                "createURL": format!("{base}/create.json"),
            });
            Answer::ok(JSON, offer.to_string())
        }
        "/print.pdf" if is_get && request.parameter("spec").is_none() => {
            error(500, "Missing 'spec' parameter")
        }
        "/print.pdf" if is_get || is_post => Answer::ok(PDF, DOCUMENT),
        "/create.json" if is_post => {
            // The number of a temporary file, which no two instances have in common.
            let id = format!("{}-{:016x}.pdf", life.name, life.controls.dice.draw());
            life.printouts.keep(id.clone());
            let address = json!({"getURL": format!("{base}/{id}{SUFFIX}")});
            Answer::ok(JSON, address.to_string())
        }
        _ => match path
            .strip_prefix('/')
            .and_then(|name| name.strip_suffix(SUFFIX))
        {
            Some(id) if is_get && life.printouts.has(id) => Answer::ok(PDF, DOCUMENT)
                .with("Content-disposition", "attachment; filename=map.pdf"),
            Some(id) if is_get => error(404, &format!("File with id={id} unknown")),
            _ => error(404, &format!("Unknown method: {path}")),
        },
    }
}

fn error(status: u16, message: &str) -> Answer {
    Answer::new(
        status,
        "text/plain",
        format!("Error while generating PDF:\n{message}\n"),
    )
}
