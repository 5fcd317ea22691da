//! A second reader of heads and bodies: text, lines and lists, in the order in which a person would
//! check them. It is slow, takes whole messages only, and accepts or refuses.

use super::LIMITS;

/// The message as the naive reader understands it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Naive {
    pub(super) head_length: usize,
    pub(super) method: Vec<u8>,
    pub(super) target: Vec<u8>,
    pub(super) host: Option<Vec<u8>>,
    /// `None` for a chunked body.
    pub(super) length: Option<u64>,
}

/// Latin-1 as text: every byte is one character.
fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| c as u8).collect()
}

/// Reads a whole head; `None` if it is not one, or not complete.
pub(super) fn head(input: &[u8]) -> Option<Naive> {
    let whole = text(input);
    let message = whole.strip_prefix("\r\n").unwrap_or(&whole);
    let (head, _) = message.split_once("\r\n\r\n")?;
    let length_of_head = head.chars().count() + 4;
    if length_of_head > LIMITS.max_bytes {
        return None;
    }
    let mut lines = head.split("\r\n");
    let [method, target, version] = lines
        .next()?
        .split(' ')
        .collect::<Vec<_>>()
        .try_into()
        .ok()?;
    let fields = lines.map(field).collect::<Option<Vec<_>>>()?;
    let values = |wanted: &str| -> Vec<&str> {
        fields
            .iter()
            .filter(|(name, _)| name == wanted)
            .map(|(_, value)| value.as_str())
            .collect()
    };
    let is_valid = is_token(method)
        && method.len() <= 32
        && !["CONNECT", "TRACE"].contains(&method)
        && ["HTTP/1.0", "HTTP/1.1"].contains(&version)
        && fields.len() <= LIMITS.max_fields
        && is_target(method, target)
        && is_host(target, version, &values("host"))
        && values("connection")
            .iter()
            .flat_map(|list| list.split(','))
            .all(is_option);
    let length = length(
        version,
        &values("content-length"),
        &values("transfer-encoding"),
    )?;
    is_valid.then(|| Naive {
        head_length: whole.len() - message.len() + length_of_head,
        method: bytes(method),
        target: bytes(target),
        host: values("host").first().map(|host| bytes(host)),
        length: match length {
            Length::Chunked => None,
            Length::Bytes(length) => Some(length),
        },
    })
}

fn is_option(option: &str) -> bool {
    let option = option.trim_matches([' ', '\t']);
    option.is_empty() || is_token(option)
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
}

/// The name in lower case, and the value.
fn field(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    let has_control = value.chars().any(|c| c != '\t' && c.is_ascii_control());
    (is_token(name) && !has_control).then(|| {
        (
            name.to_ascii_lowercase(),
            value.trim_matches([' ', '\t']).to_owned(),
        )
    })
}

fn is_target(method: &str, target: &str) -> bool {
    let is_clean = target
        .chars()
        .all(|c| !c.is_ascii_control() && !"#<>\"`".contains(c));
    let is_asterisk = method == "OPTIONS" && target == "*";
    is_clean && (target.starts_with('/') || is_asterisk || authority(target).is_some())
}

/// Host and port of a URL.
fn authority(target: &str) -> Option<(String, u32)> {
    let (scheme, rest) = target.split_once("://")?;
    let default = match scheme.to_ascii_lowercase().as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    host_and_port(rest.split(['/', '?']).next()?, default)
}

fn host_and_port(text: &str, default: u32) -> Option<(String, u32)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (text, ""),
    };
    let in_brackets = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let is_host = match in_brackets {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.len() < 256
                && host
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        }
    };
    let port = if port.is_empty() {
        default
    } else {
        port.chars()
            .all(|c| c.is_ascii_digit())
            .then(|| port.parse().ok())??
    };
    (is_host && (1..=65_535).contains(&port) && port.to_string().len() <= 5)
        .then(|| (host.to_ascii_lowercase(), port))
}

fn is_host(target: &str, version: &str, hosts: &[&str]) -> bool {
    let default = if target.to_ascii_lowercase().starts_with("https:") {
        443
    } else {
        80
    };
    match hosts {
        [] => version == "HTTP/1.0",
        [host] => match (host_and_port(host, default), authority(target)) {
            (Some(host), Some(wanted)) if !target.starts_with('/') => host == wanted,
            (host, _) => host.is_some(),
        },
        _ => false,
    }
}

/// The length of the body, if its head is right.
enum Length {
    Chunked,
    Bytes(u64),
}

fn length(version: &str, lengths: &[&str], codings: &[&str]) -> Option<Length> {
    match (lengths, codings) {
        ([], []) => Some(Length::Bytes(0)),
        ([], [coding]) => (version == "HTTP/1.1" && coding.eq_ignore_ascii_case("chunked"))
            .then_some(Length::Chunked),
        ([length], []) => {
            let is_number = !length.is_empty() && length.chars().all(|c| c.is_ascii_digit());
            is_number
                .then(|| length.parse::<i64>().ok())
                .flatten()
                .map(|length| Length::Bytes(length as u64))
        }
        _ => None,
    }
}

/// The length of the chunked body at the beginning of `input`; `None` if it is malformed or
/// incomplete.
pub(super) fn chunked_length(input: &[u8]) -> Option<usize> {
    let whole = text(input);
    let mut rest = whole.as_str();
    loop {
        let (line, after) = rest.split_once("\r\n")?;
        let (size, extension) = line.split_once(';').unwrap_or((line, ""));
        let digits = size.trim_end_matches([' ', '\t']);
        let is_size =
            (1..=15).contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_hexdigit());
        let is_extension =
            extension.len() <= 256 && !extension.chars().any(|c| c != '\t' && c.is_ascii_control());
        if !is_size || !is_extension || size.len() - digits.len() > 257 {
            return None;
        }
        rest = after;
        let size = usize::from_str_radix(digits, 16).ok()?;
        if size == 0 {
            break;
        }
        let at = rest.char_indices().nth(size)?.0;
        rest = rest[at..].strip_prefix("\r\n")?;
    }
    let trailers_at = rest;
    while !rest.starts_with("\r\n") {
        let (line, after) = rest.split_once("\r\n")?;
        field(line)?;
        rest = after;
    }
    let trailers = bytes(trailers_at).len() - bytes(rest).len();
    (trailers < 4096).then(|| bytes(&whole).len() - bytes(rest).len() + 2)
}
