//! Requests to the authority and its answers.

use serde_json::{Value, json};

/// An answer to the client.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) fields: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            fields: vec![("Content-Type", "application/json".to_owned())],
            body: body.to_string().into_bytes(),
        }
    }

    pub(super) fn problem(status: u16, kind: &str, detail: &str) -> Self {
        let kind = format!("urn:ietf:params:acme:error:{kind}");
        Self::json(
            status,
            &json!({ "type": kind, "detail": detail, "status": status }),
        )
    }

    pub(super) fn with(mut self, name: &'static str, value: String) -> Self {
        self.fields.push((name, value));
        self
    }
}

pub(super) struct HttpRequest {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) body: Vec<u8>,
}

/// The request in `read`, once it is whole.
pub(super) fn whole_request(read: &[u8]) -> Option<HttpRequest> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(read).unwrap() else {
        return None;
    };
    let (method, path) = (head.method?.to_owned(), head.path?.to_owned());
    let mut fields = head.headers.iter();
    let announced = fields.find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let announced = announced.map_or(0, |field| {
        std::str::from_utf8(field.value)
            .unwrap()
            .parse::<usize>()
            .unwrap()
    });
    let body = read.get(length..length + announced)?.to_vec();
    Some(HttpRequest { method, path, body })
}
