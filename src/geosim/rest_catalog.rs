//! The catalog by REST: workspaces, stores, layers, groups and styles, listed, shown, made and
//! removed. Every change is in the data directory, and in `updateSequence`, by the time it is
//! answered.

use serde_json::Value;

use super::answer::Answer;
use super::data_directory::Edit;
use super::exception::escape;
use super::life::Life;
use super::ows::base_url;
use super::request::Request;
use super::rest_changes::{self, Change};
use super::rest_documents;
use super::rest_path::{JSON, RestPath, XML, no_such};

pub(super) async fn answer(
    life: &Life,
    request: &Request,
    path: &str,
    address: &RestPath<'_>,
) -> Answer {
    if matches!(request.method(), "GET" | "HEAD") {
        let _no_reload = life.configuration_lock.read().await;
        return show(life, request, address);
    }
    let _all_others_wait = life.configuration_lock.write().await;
    match rest_changes::wanted(&life.catalog().contents, request, address) {
        Ok(Change {
            edits,
            status,
            shows,
        }) => {
            life.note_write(&format!("{} /rest{path}", request.method()), request);
            edits.iter().for_each(|edit| life.edit(edit));
            match shows {
                None => Answer::empty(status),
                Some(document) => Answer::new(status, JSON, document.to_string()),
            }
        }
        Err(refusal) => refusal,
    }
}

pub(super) async fn change_settings(life: &Life, request: &Request) -> Answer {
    let _all_others_wait = life.configuration_lock.write().await;
    life.note_write("PUT /rest/settings", request);
    life.edit(&Edit::ChangeSettings);
    Answer::empty(200)
}

fn show(life: &Life, request: &Request, address: &RestPath<'_>) -> Answer {
    let contents = life.catalog().contents;
    let base = format!("{}/rest", base_url(request));
    match rest_documents::find(&contents, &address.parts, &base) {
        None => no_such(&address.parts.join("/")),
        Some(document) if address.wants_style(request) && document.get("style").is_some() => {
            Answer::ok("application/vnd.ogc.sld+xml", style_of(&document))
        }
        Some(document) if address.wants_json(request) => Answer::ok(JSON, document.to_string()),
        Some(document) => Answer::ok(XML, xml_of(&document)),
    }
}

/// The body of a style. The double keeps none: its name is all that is in it.
fn style_of(document: &Value) -> String {
    let name = document["style"]["name"].as_str().unwrap_or_default();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><sld:StyledLayerDescriptor xmlns:sld=\"http://www.opengis.net/sld\" \
         version=\"1.0.0\"><sld:NamedLayer><sld:Name>{}</sld:Name></sld:NamedLayer></sld:StyledLayerDescriptor>",
        escape(name)
    )
}

/// The same document as XML: a list is its element repeated, and `@name` is an attribute.
fn xml_of(document: &Value) -> String {
    let mut out = String::new();
    if let Value::Object(members) = document {
        members
            .iter()
            .for_each(|(name, value)| append_element(&mut out, name, value));
    }
    out
}

fn append_element(out: &mut String, name: &str, value: &Value) {
    match value {
        Value::Array(items) => items
            .iter()
            .for_each(|item| append_element(out, name, item)),
        Value::Object(members) => {
            out.push_str(&format!("<{name}"));
            for (key, value) in members {
                if let (Some(attribute), Some(text)) = (key.strip_prefix('@'), value.as_str()) {
                    out.push_str(&format!(" {attribute}=\"{}\"", escape(text)));
                }
            }
            out.push('>');
            for (key, value) in members.iter().filter(|(key, _)| !key.starts_with('@')) {
                match value.as_str().filter(|_| key == "$") {
                    Some(text) => out.push_str(&escape(text)),
                    None => append_element(out, key, value),
                }
            }
            out.push_str(&format!("</{name}>"));
        }
        Value::String(text) => out.push_str(&format!("<{name}>{}</{name}>", escape(text))),
        Value::Null => out.push_str(&format!("<{name}/>")),
        Value::Bool(_) | Value::Number(_) => out.push_str(&format!("<{name}>{value}</{name}>")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_in_xml_has_attributes_repetitions_and_escaped_text() {
        let document = json!({"a": {"@k": "1", "b": [{"n": "x<y"}, {"n": 2}], "c": null, "d": {"@e": "f", "$": "g"}}});
        assert_eq!(
            xml_of(&document),
            "<a k=\"1\"><b><n>x&lt;y</n></b><b><n>2</n></b><c/><d e=\"f\">g</d></a>"
        );
    }
}
