//! A record as one line of logfmt or JSON.
//!
//! Much of a record is the client's own text. Whatever it contains, it stays inside its field and
//! on its line, and a terminal that shows the log sees no control character. Long values are cut,
//! and secrets in the query are masked.

use std::borrow::Cow;
use std::io::Write;
use std::time::Duration;

use super::{End, Record, number};
use crate::config::LogFormat;

/// Longer targets are cut: a request line may have a megabyte.
const MAX_TARGET: usize = 2048;

/// Longer layers and users are cut.
const MAX_NAME: usize = 256;

/// Query keys whose values are credentials: those of GeoServer's authkey module and of common
/// gateways.
const SECRETS: [&[u8]; 4] = [b"authkey", b"password", b"access_token", b"token"];

/// The text before a value: the end of the preceding field, the field's name, and the beginning of
/// its value.
#[derive(Clone, Copy)]
struct Key {
    logfmt: &'static str,
    json: &'static str,
}

/// The key of the first field, which has no preceding field to end.
macro_rules! key {
    ("time") => {
        Key {
            logfmt: "time=",
            json: "{\"time\":",
        }
    };
    ($name:literal) => {
        Key {
            logfmt: concat!(" ", $name, "="),
            json: concat!(",\"", $name, "\":"),
        }
    };
}

/// Appends the line, its line break included.
pub(super) fn write(record: &Record<'_>, format: LogFormat, out: &mut Vec<u8>) {
    let mut line = Line { out, format };
    line.plain(key!("time"), |out| number::write_time(record.time, out));
    line.text(key!("id"), record.request_id.as_bytes());
    line.plain(key!("client"), |out| {
        number::write_address(record.client.to_canonical(), out)
    });
    line.plain(key!("peer"), |out| {
        number::write_address(record.peer.to_canonical(), out)
    });
    line.text(key!("method"), record.method.as_bytes());
    line.text(
        key!("path"),
        &cut(
            &masked(cut_to(record.target, MAX_TARGET)),
            record.target.len() > MAX_TARGET,
        ),
    );
    line.number(key!("status"), record.status.map(u64::from));
    line.word(key!("class"), Some(record.class.as_str()));
    line.word(key!("service"), record.service);
    line.word(key!("operation"), record.operation);
    line.name(key!("layer"), record.layer);
    line.word(key!("upstream"), record.upstream);
    line.name(key!("coalesced"), record.coalesced.map(str::as_bytes));
    line.number(key!("attempts"), Some(record.attempts.into()));
    line.millis(key!("queue_ms"), record.queue);
    line.millis(key!("connect_ms"), record.connect);
    line.millis(key!("first_byte_ms"), record.first_byte);
    line.millis(key!("total_ms"), Some(record.total));
    line.number(key!("bytes"), Some(record.bytes));
    line.end(record.end);
    line.name(key!("user"), record.user);
    if record.route.is_some() {
        line.word(key!("route"), record.route);
    }
    if record.named.is_some() {
        line.word(key!("named"), record.named);
    }
    if record.cluster.is_some() {
        line.word(key!("cluster"), record.cluster);
    }
    if let Some(trace) = record.trace {
        line.plain(key!("trace"), |out| write_to(out, format_args!("{trace}")));
    }
    line.finish();
}

struct Line<'a> {
    out: &'a mut Vec<u8>,
    format: LogFormat,
}

impl Line<'_> {
    fn key(&mut self, key: Key) {
        self.out.extend_from_slice(match self.format {
            LogFormat::Logfmt => key.logfmt.as_bytes(),
            LogFormat::Json => key.json.as_bytes(),
        });
    }

    fn absent(&mut self) {
        self.out.extend_from_slice(match self.format {
            LogFormat::Logfmt => b"-",
            LogFormat::Json => b"null",
        });
    }

    /// A value that needs no escapes: a string in JSON.
    fn plain(&mut self, key: Key, value: impl FnOnce(&mut Vec<u8>)) {
        self.key(key);
        let quote: &[u8] = match self.format {
            LogFormat::Logfmt => b"",
            LogFormat::Json => b"\"",
        };
        self.out.extend_from_slice(quote);
        value(self.out);
        self.out.extend_from_slice(quote);
    }

    fn number(&mut self, key: Key, value: Option<u64>) {
        self.key(key);
        match value {
            Some(value) => number::write(value, self.out),
            None => self.absent(),
        }
    }

    fn millis(&mut self, key: Key, value: Option<Duration>) {
        self.key(key);
        match value {
            Some(value) => number::write_millis(value, self.out),
            None => self.absent(),
        }
    }

    fn word(&mut self, key: Key, value: Option<&str>) {
        match value {
            Some(value) => self.text(key, value.as_bytes()),
            None => {
                self.key(key);
                self.absent();
            }
        }
    }

    fn name(&mut self, key: Key, value: Option<&[u8]>) {
        match value {
            Some(value) => self.text(key, &cut(cut_to(value, MAX_NAME), value.len() > MAX_NAME)),
            None => self.word(key, None),
        }
    }

    fn end(&mut self, end: End) {
        self.plain(key!("end"), |out| {
            out.extend_from_slice(end.word().as_bytes());
            if let End::Refused(reason) = end {
                out.push(b':');
                out.extend_from_slice(reason.as_bytes());
            }
        });
    }

    fn text(&mut self, key: Key, value: &[u8]) {
        self.key(key);
        let is_harmless = is_harmless(value);
        // A lone `-` would read as absent, and logfmt splits at `=` only before a value.
        let needs_quotes =
            self.format == LogFormat::Json || !is_harmless || matches!(value, b"" | b"-");
        if needs_quotes {
            self.out.push(b'"');
        }
        if is_harmless {
            self.out.extend_from_slice(value);
        } else {
            self.escaped(value);
        }
        if needs_quotes {
            self.out.push(b'"');
        }
    }

    fn escaped(&mut self, value: &[u8]) {
        for chunk in value.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '"' | '\\' => self.out.extend_from_slice(&[b'\\', c as u8]),
                    c if c.is_control() || is_reordering(c) => {
                        write_to(self.out, format_args!("\\u{:04x}", c as u32))
                    }
                    c => self
                        .out
                        .extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                }
            }
            for byte in chunk.invalid() {
                match self.format {
                    LogFormat::Logfmt => write_to(self.out, format_args!("\\x{byte:02x}")),
                    // JSON knows characters only: as Latin-1, which headers once were.
                    LogFormat::Json => write_to(self.out, format_args!("\\u00{byte:02x}")),
                }
            }
        }
    }

    fn finish(self) {
        self.out.extend_from_slice(match self.format {
            LogFormat::Logfmt => b"\n".as_slice(),
            LogFormat::Json => b"}\n",
        });
    }
}

/// Characters that end a line for some readers, or turn the rest of it around for all.
fn is_reordering(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Checks all bytes at once, because nearly every value is harmless.
fn is_harmless(value: &[u8]) -> bool {
    value.iter().fold(true, |is_harmless, b| {
        is_harmless & b.is_ascii_graphic() & (*b != b'"') & (*b != b'\\')
    })
}

fn cut_to(value: &[u8], limit: usize) -> &[u8] {
    &value[..value.len().min(limit)]
}

/// Marks a value that was longer.
fn cut(value: &[u8], was_longer: bool) -> Cow<'_, [u8]> {
    if was_longer {
        Cow::Owned([value, b"..."].concat())
    } else {
        Cow::Borrowed(value)
    }
}

/// The target with the values of [`SECRETS`] replaced.
pub(in crate::proxy) fn masked(target: &[u8]) -> Cow<'_, [u8]> {
    let is_named = |pair: &[u8], name: &[u8]| match pair.get(name.len()) {
        Some(b'=') => pair[..name.len()].eq_ignore_ascii_case(name),
        // Servers decode names, too.
        Some(_) => is_encoded(pair, name),
        None => false,
    };
    let is_secret = |pair: &[u8]| SECRETS.iter().any(|secret| is_named(pair, secret));
    let query = target
        .iter()
        .position(|b| *b == b'?')
        .map_or(target.len(), |mark| mark + 1);
    if !target[query..].split(|b| *b == b'&').any(is_secret) {
        return Cow::Borrowed(target);
    }
    let mut out = target[..query].to_vec();
    for (i, pair) in target[query..].split(|b| *b == b'&').enumerate() {
        if i > 0 {
            out.push(b'&');
        }
        match pair
            .iter()
            .position(|b| *b == b'=')
            .filter(|_| is_secret(pair))
        {
            Some(equals) => out.extend_from_slice(&[&pair[..=equals], b"***"].concat()),
            None => out.extend_from_slice(pair),
        }
    }
    Cow::Owned(out)
}

/// True if `pair` begins with `name` and `=`, some of it percent-encoded.
fn is_encoded(mut pair: &[u8], name: &[u8]) -> bool {
    for wanted in name {
        let (byte, rest) = match *pair {
            [b'%', high, low, ref rest @ ..] => {
                let digits = [high, low].map(|digit| char::from(digit).to_digit(16));
                let [Some(high), Some(low)] = digits else {
                    return false;
                };
                (u8::try_from(high << 4 | low).unwrap_or_default(), rest)
            }
            [byte, ref rest @ ..] => (byte, rest),
            [] => return false,
        };
        if !byte.eq_ignore_ascii_case(wanted) {
            return false;
        }
        pair = rest;
    }
    pair.first() == Some(&b'=')
}

fn write_to(out: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments).expect("memory takes every write");
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::ogc::RequestClass;

    fn record<'a>(target: &'a [u8], user: Option<&'a [u8]>) -> Record<'a> {
        Record {
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_000_000_123),
            request_id: "7f3a",
            client: "::ffff:192.0.2.7".parse().unwrap(),
            peer: "::ffff:10.0.0.5".parse().unwrap(),
            method: "GET",
            target,
            status: Some(200),
            class: RequestClass::Map,
            service: Some("wms"),
            operation: Some("GetMap"),
            layer: Some(b"geor:roads"),
            upstream: Some("slave1"),
            coalesced: None,
            attempts: 2,
            queue: Some(Duration::ZERO),
            connect: None,
            first_byte: Some(Duration::from_micros(12_345)),
            total: Duration::from_micros(13_006),
            bytes: 20_480,
            end: End::Ok,
            user,
            route: None,
            named: None,
            cluster: None,
            trace: None,
        }
    }

    fn line(record: &Record<'_>, format: LogFormat) -> String {
        let mut out = Vec::new();
        write(record, format, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn json(record: &Record<'_>) -> serde_json::Value {
        serde_json::from_str(&line(record, LogFormat::Json)).unwrap()
    }

    #[test]
    fn logfmt_has_every_field_in_one_order() {
        assert_eq!(
            line(
                &record(b"/geoserver/wms?request=GetMap", None),
                LogFormat::Logfmt
            ),
            "time=2026-11-18T11:06:40.123Z id=7f3a client=192.0.2.7 peer=10.0.0.5 method=GET path=/geoserver/wms?request=GetMap status=200 \
             class=map service=wms operation=GetMap layer=geor:roads upstream=slave1 coalesced=- attempts=2 queue_ms=0.000 connect_ms=- \
             first_byte_ms=12.345 total_ms=13.006 bytes=20480 end=ok user=-\n"
        );
    }

    #[test]
    fn json_has_the_same_fields_with_types() {
        let refused = Record {
            end: End::Refused("no-upstream"),
            status: None,
            ..record(b"/", Some(b"jo"))
        };
        let value = json(&refused);
        assert_eq!(value["end"], "refused:no-upstream");
        assert_eq!(value["status"], serde_json::Value::Null);
        assert_eq!(value["first_byte_ms"], 12.345);
        assert_eq!(value["bytes"], 20480);
        assert_eq!(value["user"], "jo");
        assert_eq!(value.as_object().unwrap().len(), 21);
    }

    #[test]
    fn a_client_cannot_leave_its_field_or_its_line() {
        let evil = b"/wms?a=\" status=200\r\nid=forged \x1b[31m\xff\xc2\x85\xe2\x80\xa8\\";
        let logfmt = line(&record(evil, Some(b"a b")), LogFormat::Logfmt);
        assert_eq!(logfmt.matches('\n').count(), 1);
        assert!(
            logfmt.contains(r#" path="/wms?a=\" status=200\u000d\u000aid=forged \u001b[31m\xff\u0085\u2028\\" status=200 "#),
            "{logfmt}"
        );
        assert!(logfmt.ends_with(" user=\"a b\"\n"));
        assert_eq!(
            line(&record(evil, None), LogFormat::Json)
                .matches('\n')
                .count(),
            1
        );
        assert_eq!(
            json(&record(evil, None))["path"],
            "/wms?a=\" status=200\r\nid=forged \u{1b}[31m\u{ff}\u{85}\u{2028}\\"
        );
    }

    #[test]
    fn names_in_any_alphabet_stay_readable() {
        let user = "jos\u{e9}".as_bytes();
        assert!(
            line(&record(b"/", Some(user)), LogFormat::Logfmt).ends_with(" user=\"jos\u{e9}\"\n")
        );
        assert_eq!(json(&record(b"/", Some(user)))["user"], "jos\u{e9}");
    }

    #[test]
    fn an_absent_value_differs_from_a_value_that_looks_like_it() {
        for (user, shown) in [(b"".as_slice(), "user=\"\"\n"), (b"-", "user=\"-\"\n")] {
            assert!(line(&record(b"/", Some(user)), LogFormat::Logfmt).ends_with(shown));
        }
    }

    #[test]
    fn secrets_in_the_query_are_masked() {
        let masks = [
            ("/wms?AuthKey=abc&layers=x", "/wms?AuthKey=***&layers=x"),
            (
                "/wms?layers=x&token=abc==&password=",
                "/wms?layers=x&token=***&password=***",
            ),
            (
                "/wms?layers=authkey&tokens=1",
                "/wms?layers=authkey&tokens=1",
            ),
            (
                "/wms?%61uthkey=abc&%54oke%6e=x%26y&x=%74oken=",
                "/wms?%61uthkey=***&%54oke%6e=***&x=%74oken=",
            ),
            ("/wms?%6zuthkey=1&%61uthke", "/wms?%6zuthkey=1&%61uthke"),
            ("/authkey=1", "/authkey=1"),
            ("/wms?authkey", "/wms?authkey"),
        ];
        for (target, shown) in masks {
            assert_eq!(String::from_utf8_lossy(&masked(target.as_bytes())), shown);
        }
    }

    #[test]
    fn long_values_are_cut() {
        let long = vec![b'x'; 1 << 20];
        let line = line(&record(&long, Some(&long)), LogFormat::Logfmt);
        assert!(line.len() < MAX_TARGET + MAX_NAME + 400, "{}", line.len());
        assert!(line.contains("xxx... status=200"));
    }
}
