//! The table of requests in `data/ogc/requests.txt`, each with its class.

#[path = "ogc_shared/table.rs"]
mod table;

use geofront::ogc::{BODY_PREFIX, BodyNeed, RequestHead, Service, body_need, classify};
use table::{Case, cases};

#[test]
fn every_request_of_the_table_has_its_class() {
    let wrong: Vec<String> = cases().iter().filter_map(complaint).collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn complaint(case: &Case) -> Option<String> {
    let head = case.head();
    let prefix = case.body.get(..BODY_PREFIX).unwrap_or(&case.body);
    let found = classify(&head, &case.context, Some(prefix));
    let words = [Some(found.class.as_str()), found.service.map(Service::as_str), found.operation];
    let words: Vec<&str> = words.into_iter().flatten().collect();
    let is_right = words == case.expected;
    (!is_right).then(|| {
        format!(
            "line {}: {} {}\n   expected {:?}, found {words:?} because {}",
            case.line, case.method, case.target, case.expected, found.reason
        )
    })
}

#[test]
fn a_body_changes_the_class_only_where_it_is_asked_for() {
    for case in cases() {
        let head = case.head();
        if body_need(&head, &case.context) == BodyNeed::None {
            let with = classify(&head, &case.context, Some(&case.body));
            let without = classify(&head, &case.context, None);
            assert_eq!(with, without, "line {}", case.line);
        }
    }
}

#[test]
fn without_its_body_a_request_that_needs_one_is_never_a_read() {
    for case in cases() {
        let head: RequestHead<'_> = case.head();
        if body_need(&head, &case.context) == BodyNeed::Prefix {
            assert!(!classify(&head, &case.context, None).class.is_read(), "line {}", case.line);
        }
    }
}
