//! Tests that drawn mixes have the properties they claim.

use crate::mix::Drawn;

#[test]
fn the_same_seed_draws_the_same_mix_and_others_differ() {
    let drawn = |seed| format!("{:?}", Drawn::from(seed));
    assert_eq!(drawn(3), drawn(3));
    assert_ne!(drawn(3), drawn(4));
}

#[test]
fn every_drawn_mix_is_within_its_ranges() {
    for seed in 0..2000 {
        let Drawn {
            mix,
            load,
            cores,
            speeds,
        } = Drawn::from(seed);
        assert!(
            (0.3..0.95).contains(&mix.tiles) && (0.001..=0.02).contains(&mix.heavy),
            "{seed}: {mix:?}"
        );
        assert!(
            (0.0..=0.1).contains(&mix.misses) && (0.65..0.9).contains(&load),
            "{seed}: {mix:?}, {load}"
        );
        assert!(
            [2, 4, 8].contains(&cores) && speeds.iter().all(|speed| (0.4..=1.0).contains(speed)),
            "{seed}"
        );
    }
}
