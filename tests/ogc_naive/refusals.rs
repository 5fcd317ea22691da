//! A rule that refuses cannot be got around: what some server reads as the refused request fits the
//! rule, however it is spelled. And a plain request fits exactly what it is.

use geofront::ogc::{
    BodyNeed, BodyReader, Fit, PathPattern, RequestHead, RuleSubject, Service, body_need, classify,
    operations,
};

use crate::harness::MAX;
use crate::oracle::{self, Request};

/// Patterns that an operator may refuse.
pub(crate) const PATTERNS: [&str; 12] = [
    "/rest/**",
    "/rest",
    "/web/**",
    "/gwc/rest/**",
    "/**/wfs",
    "/geor/**",
    "/*/roads/**",
    "/wfs/Transaction",
    "/ogc/processes/**",
    "/gsr/**/delete/*",
    "/styles/*",
    "/**",
];

/// Calls `look` with the request as rules see it.
fn with_subject<T>(request: &Request, look: impl FnOnce(&RuleSubject<'_>) -> T) -> T {
    let head = RequestHead {
        method: &request.method,
        target: &request.target,
        content_type: request.content_type.as_deref(),
    };
    let is_read = body_need(&head, &request.context) == BodyNeed::Prefix;
    let reader = BodyReader::new(
        request.content_type.as_deref(),
        request.coding.as_deref(),
        MAX,
    );
    let evidence = reader.evidence(&request.body, true).filter(|_| is_read);
    let classified = classify(&head, &request.context, evidence.as_deref());
    look(&RuleSubject::new(
        head,
        &request.context,
        evidence.as_deref(),
        &classified,
    ))
}

/// Panics if some server reads the request as one that a rule refuses, and the rule does not fit.
pub(crate) fn check(request: &Request) {
    let text = || request.target.escape_ascii().to_string();
    with_subject(request, |subject| {
        for meaning in oracle::meanings(request) {
            let Some(service) = meaning.service.and_then(geofront::ogc::service_by_name) else {
                continue;
            };
            assert!(
                subject.fits_service(service) >= Fit::Possible,
                "{} {}\nsome server takes it for {meaning:?}, and geofront for {:?}",
                request.method,
                text(),
                subject.classified()
            );
            let name = operations(service)
                .find(|name| meaning.operation.as_deref() == Some(&name.to_ascii_lowercase()));
            assert!(
                name.is_none_or(|name| subject.fits_operation(name) >= Fit::Possible),
                "{} {}\nsome server takes it for {meaning:?}, and geofront for {:?}",
                request.method,
                text(),
                subject.classified()
            );
        }
        let paths = oracle::paths_below(request);
        for pattern in PATTERNS {
            let form = PathPattern::parse(pattern).expect("a pattern");
            let is_there = paths
                .iter()
                .any(|segments| naive_fits(pattern, segments, oracle::equals_ignore_case));
            assert!(
                !is_there || subject.fits_path(&form) >= Fit::Possible,
                "{pattern} is what some server reads in {}",
                text()
            );
        }
    });
}

/// Panics if a plain request fits anything but what it is.
pub(crate) fn check_plain(request: &Request) {
    let meanings = oracle::meanings(request);
    let [meaning] = meanings.as_slice() else {
        panic!("a plain request means one thing");
    };
    with_subject(request, |subject| {
        for service in Service::ALL {
            let is_it = meaning.service == Some(service.as_str());
            let fit = if is_it { Fit::Certain } else { Fit::No };
            assert_eq!(
                subject.fits_service(service),
                fit,
                "{service:?} {} {}",
                request.method,
                request.target.escape_ascii()
            );
        }
        let paths = oracle::paths_below(request);
        for pattern in PATTERNS {
            let form = PathPattern::parse(pattern).expect("a pattern");
            let is_it = paths
                .iter()
                .any(|segments| naive_fits(pattern, segments, str::eq));
            let fit = subject.fits_path(&form);
            assert!(
                if is_it {
                    fit == Fit::Certain
                } else {
                    fit != Fit::Certain
                },
                "{pattern} {} {fit:?}",
                request.target.escape_ascii()
            );
        }
    });
}

/// The same patterns by recursion over strings, compared by `is_same`.
fn naive_fits(pattern: &str, segments: &[String], is_same: fn(&str, &str) -> bool) -> bool {
    fn fits(parts: &[&str], segments: &[String], is_same: fn(&str, &str) -> bool) -> bool {
        match (parts.split_first(), segments.split_first()) {
            (None, None) => true,
            (Some((&"**", rest)), None) => fits(rest, segments, is_same),
            (Some((&"**", rest)), Some((_, others))) => {
                fits(rest, segments, is_same) || fits(parts, others, is_same)
            }
            (Some((&"*", rest)), Some((_, others))) => fits(rest, others, is_same),
            (Some((part, rest)), Some((segment, others))) => {
                is_same(part, segment) && fits(rest, others, is_same)
            }
            _ => false,
        }
    }
    let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    fits(&parts, segments, is_same)
}
