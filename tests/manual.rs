//! The manual matches the code: tables of fields, reasons, classes and headers in `docs/` are
//! compared with it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use geofront::config::{AccessLogDestination, LogFormat, PeerTrust, Trust};
use geofront::ogc::{Clarity, RequestClass, Retryable, Writes, retry};
use geofront::proxy::access_log::{AccessLog, End, Record};
use geofront::proxy::client::request_id::RequestId;
use geofront::proxy::headers::{ClientView, prepare_upstream};
use geofront::proxy::response::respond::Refusal;
use geofront::traces::TraceId;
use pingora::http::RequestHeader;

const ACCESS_LOG: &str = include_str!("../docs/access-log.md");
const CLASSES: &str = include_str!("../docs/request-classes.md");
const HEADERS: &str = include_str!("../docs/headers-and-trust.md");
const OPERATIONS: &str = include_str!("../docs/operations.md");

/// Returns the rows of the table whose header row begins with `first`, each split into its cells.
fn table<'m>(manual: &'m str, first: &str) -> Vec<Vec<&'m str>> {
    let begin = format!("| {first} |");
    let rows = manual
        .lines()
        .skip_while(|line| !line.starts_with(&begin))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let rows: Vec<Vec<&str>> = rows
        .map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert!(!rows.is_empty(), "the manual has a table of `{first}`");
    rows
}

fn bare(cell: &str) -> &str {
    cell.trim_matches('`')
}

fn record(end: End) -> Record<'static> {
    Record {
        time: SystemTime::UNIX_EPOCH,
        request_id: "x",
        client: [192, 0, 2, 7].into(),
        peer: [192, 0, 2, 7].into(),
        method: "GET",
        target: b"/",
        status: None,
        class: RequestClass::Map,
        service: None,
        operation: None,
        layer: None,
        upstream: None,
        coalesced: None,
        attempts: 0,
        queue: None,
        connect: None,
        first_byte: None,
        total: Duration::ZERO,
        bytes: 0,
        end,
        user: None,
        route: Some("inside-only"),
        named: Some("replica1"),
        cluster: Some("city"),
        trace: Some(TraceId::random()),
    }
}

/// The lines that are logged for `records`.
fn logged(records: &[Record<'_>], format: LogFormat) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = AccessLog::start(&AccessLogDestination::File(path.clone()), format);
    records.iter().for_each(|record| log.log(record));
    drop(log);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_access_logs_fields_are_those_of_the_manual_in_their_order() {
    let line = logged(&[record(End::Ok)], LogFormat::Logfmt);
    let fields: Vec<&str> = line
        .split_whitespace()
        .map(|field| field.split('=').next().unwrap())
        .collect();
    let named: Vec<&str> = table(ACCESS_LOG, "field")
        .iter()
        .map(|row| bare(row[0]))
        .collect();
    assert_eq!(named, fields);
    let example = ACCESS_LOG
        .lines()
        .find(|line| line.starts_with("time="))
        .expect("an example");
    assert_eq!(
        example
            .split_whitespace()
            .map(|field| field.split('=').next().unwrap())
            .collect::<Vec<_>>(),
        fields
    );
}

#[test]
fn the_ends_of_a_request_are_those_of_the_manual() {
    let ends = [
        End::Ok,
        End::ClientAbort,
        End::ClientTooSlow,
        End::UpstreamReset,
        End::Timeout,
        End::Refused("REASON"),
    ];
    let lines = logged(&ends.map(record), LogFormat::Json);
    let values = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let logged: Vec<String> = values
        .map(|value| value["end"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        table(ACCESS_LOG, "end")
            .iter()
            .map(|row| bare(row[0]))
            .collect::<Vec<_>>(),
        logged
    );
}

#[test]
fn every_reason_of_a_refusal_is_explained_with_its_status() {
    let expected: BTreeSet<(String, String)> = Refusal::ALL
        .iter()
        .map(|refusal| {
            (
                refusal.reason().to_owned(),
                refusal.status().as_u16().to_string(),
            )
        })
        .collect();
    let rows = table(OPERATIONS, "reason");
    let named: BTreeSet<(String, String)> = rows
        .iter()
        .map(|row| (bare(row[0]).to_owned(), row[1].to_owned()))
        .collect();
    assert_eq!(named, expected);
}

#[test]
fn the_table_of_classes_states_the_upstreams_and_retries_of_each() {
    let rows = table(CLASSES, "class");
    let named: BTreeSet<&str> = rows.iter().map(|row| bare(row[0])).collect();
    assert_eq!(
        named,
        RequestClass::ALL
            .iter()
            .map(|class| class.as_str())
            .collect()
    );
    for row in rows {
        let class = RequestClass::from_name(bare(row[0])).unwrap();
        assert_eq!(row[2] == "replicas", class.is_read(), "{class}: {row:?}");
        let again = match retry(class, "GET", Clarity::Plain) {
            Retryable::Yes => "until the first byte",
            Retryable::Unanswered => "was being closed",
            Retryable::ConnectOnly => "only if no connection could be opened",
            Retryable::Never => "never",
        };
        assert!(row[3].contains(again), "{class}: {row:?}");
    }
}

#[test]
fn the_table_of_class_properties_is_that_of_the_code() {
    let yes = |is: bool| if is { "yes" } else { "no" };
    let rows: Vec<Vec<String>> = RequestClass::ALL
        .iter()
        .map(|class| {
            let row = class.row();
            let writes = match row.writes {
                Writes::Never => "no",
                Writes::UnsafeMethods => "all but GET, HEAD and OPTIONS",
                Writes::Always => "yes",
            };
            let megabytes = row.default_max_body / 1_000_000;
            let max_body = match megabytes % 1000 {
                0 => format!("{}GB", megabytes / 1000),
                _ => format!("{megabytes}MB"),
            };
            vec![
                format!("`{class}`"),
                writes.to_owned(),
                yes(row.blames_upstream).to_owned(),
                yes(row.is_administration).to_owned(),
                yes(row.is_coalescable).to_owned(),
                row.default_priority.to_string(),
                match row.default_first_byte.as_secs() {
                    seconds if seconds > 60 && seconds % 60 == 0 => format!("{}m", seconds / 60),
                    seconds => format!("{seconds}s"),
                },
                max_body,
                format!("{}s", row.slow_after.as_secs()),
            ]
        })
        .collect();
    assert_eq!(table(CLASSES, "property of"), rows);
}

/// The value of this header that reaches an upstream when an untrusted client sends it.
fn passes(name: &str) -> bool {
    const VALUE: &str = "a-value-of-its-own";
    let mut request = RequestHeader::build("GET", b"/geoserver/wms", None).unwrap();
    request.insert_header("Host", "maps.example.org").unwrap();
    request.insert_header(name.to_owned(), VALUE).unwrap();
    let request_id = RequestId::fresh();
    let client = ClientView {
        peer: [192, 0, 2, 7].into(),
        local: None,
        trust: PeerTrust::default(),
        config: &Trust::default(),
        tls: false,
        subject: None,
        hsts: None,
        version: http::Version::HTTP_11,
        request_id: &request_id,
    };
    prepare_upstream(&mut request, &client).unwrap();
    request
        .headers
        .values()
        .any(|value| value.as_bytes() == VALUE.as_bytes())
}

/// The names in the first column of a table of headers; `*` stands for anything.
fn header_names(rows: &[Vec<&str>]) -> Vec<String> {
    rows.iter()
        .flat_map(|row| row[0].split(", "))
        .map(|name| bare(name).to_owned())
        .collect()
}

#[test]
fn everything_the_manual_lists_as_removed_is_removed_and_nothing_else_is() {
    let section = HEADERS
        .split("## Requests from untrusted peers")
        .nth(1)
        .unwrap();
    let removed = header_names(&table(section, "header"));
    for name in &removed {
        for spelling in [
            name.replace('*', "anything"),
            name.replace('*', "x")
                .replace('-', "_")
                .to_ascii_uppercase(),
        ] {
            assert!(!passes(&spelling), "{spelling}");
        }
    }
    for ordinary in [
        "Authorization",
        "Cookie",
        "Accept",
        "Referer",
        "Sector",
        "Impact",
        "X-Requested-With",
        "If-None-Match",
    ] {
        assert!(passes(ordinary), "{ordinary}");
    }
}

#[test]
fn everything_the_manual_lists_as_set_from_the_connection_is_set() {
    let section = HEADERS.split("These headers are set").nth(1).unwrap();
    let set: BTreeSet<String> = header_names(&table(section, "header"))
        .iter()
        .map(|name| name.to_ascii_lowercase())
        .collect();
    let mut request = RequestHeader::build("GET", b"/", None).unwrap();
    request
        .insert_header("Host", "maps.example.org:8080")
        .unwrap();
    let request_id = RequestId::fresh();
    let peer = [192, 0, 2, 7].into();
    let client = ClientView {
        peer,
        local: None,
        trust: PeerTrust::default(),
        config: &Trust::default(),
        tls: false,
        subject: None,
        hsts: None,
        version: http::Version::HTTP_11,
        request_id: &request_id,
    };
    prepare_upstream(&mut request, &client).unwrap();
    let forwarded = request
        .headers
        .keys()
        .map(|name| name.as_str().to_owned())
        .filter(|name| name.starts_with("x-forwarded"));
    assert_eq!(forwarded.collect::<BTreeSet<_>>(), set);
    assert_eq!(request.headers.get("x-forwarded-port").unwrap(), "8080");
}
