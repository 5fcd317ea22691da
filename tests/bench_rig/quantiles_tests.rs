//! Quantiles are exact.

use std::time::Duration;

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

#[test]
fn a_ratio_is_of_the_same_quantile_and_nothing_is_as_good_as_nothing() {
    let of = |ms: &[u64]| {
        ms.iter()
            .map(|ms| Duration::from_millis(*ms))
            .collect::<Quantiles>()
    };
    assert!((of(&[10, 30]).ratio(&of(&[20, 60]), 0.99) - 0.5).abs() < 1e-9);
    assert!(
        (of(&[]).ratio(&of(&[]), 0.5) - 1.0).abs() < 1e-9 && of(&[]).ratio(&of(&[1]), 0.5).is_nan()
    );
}
