//! Quantiles are exact, and failures count in them.

use std::time::Duration;

use crate::latencies::{Latencies, Latency};
use crate::rig::quantiles::Quantiles;

fn up_to(most: u64) -> Quantiles {
    (1..=most).rev().map(Duration::from_millis).collect()
}

#[test]
fn a_quantile_is_the_value_that_so_many_do_not_exceed() {
    let hundred = up_to(100);
    assert_eq!(
        [0.0, 0.01, 0.5, 0.99, 1.0].map(|q| hundred.at(q).unwrap().as_millis()),
        [1, 1, 50, 99, 100]
    );
    assert_eq!(up_to(3).at(0.99), Some(Duration::from_millis(3)));
    assert_eq!(hundred.mean(), Some(Duration::from_micros(50_500)));
}

#[test]
fn nothing_has_no_quantiles() {
    assert_eq!(
        (up_to(0).at(0.5), up_to(0).mean(), up_to(0).count()),
        (None, None, 0)
    );
}

/// Requests that were answered after so many milliseconds, and others that were not.
fn latencies(answered: &[u64], failed: usize) -> Latencies {
    let answered = answered.iter().map(|ms| Some(Duration::from_millis(*ms)));
    answered.chain(vec![None; failed]).collect()
}

#[test]
fn a_request_that_failed_is_slower_than_every_answer() {
    let one_in_four_fails = latencies(&[30, 10, 20], 1);
    let answered = |ms| Some(Latency::Answered(Duration::from_millis(ms)));
    assert_eq!(
        [0.0, 0.5, 0.75, 0.76].map(|q| one_in_four_fails.at(q)),
        [
            answered(10),
            answered(20),
            answered(30),
            Some(Latency::Failed)
        ]
    );
    assert_eq!(latencies(&[], 2).at(0.5), Some(Latency::Failed));
    assert_eq!(latencies(&[], 0).at(0.5), None);
    assert!(answered(u64::MAX) < Some(Latency::Failed));
}

#[test]
fn a_ratio_is_of_the_same_quantile_and_nothing_is_as_good_as_nothing() {
    let of = |ms: &[u64]| latencies(ms, 0);
    assert!((of(&[10, 30]).ratio(&of(&[20, 60]), 0.99) - 0.5).abs() < 1e-9);
    assert!(
        (of(&[]).ratio(&of(&[]), 0.5) - 1.0).abs() < 1e-9 && of(&[]).ratio(&of(&[1]), 0.5).is_nan()
    );
}

#[test]
fn a_failure_is_infinitely_worse_than_an_answer_and_as_bad_as_a_failure() {
    let (answers, failures) = (latencies(&[10], 0), latencies(&[], 1));
    assert_eq!(
        [
            failures.ratio(&answers, 0.5),
            answers.ratio(&failures, 0.5),
            failures.ratio(&failures, 0.5)
        ],
        [f64::INFINITY, 0.0, 1.0]
    );
}
