//! Tests of a site's throughput while one of its servers is slow or busier than the others, and
//! while a roll takes one out. The measures are the requests that servers received and the work
//! they did. The reference is a least-connections balancer with the same requests.

use std::ops::Range;
use std::time::{Duration, Instant};

use geofront::ogc::RequestClass::{Feature, Map, Process, Tile};

use crate::chance::Chance;
use crate::site::{Mix, Site, site};

const SECOND: Duration = Duration::from_secs(1);
const SEEDS: u64 = 8;

/// Tiles, maps and some exports.
const MIXED: Mix = Mix {
    gap: 0.0,
    classes: [(Tile, 0.02, 79), (Map, 0.15, 20), (Feature, 1.0, 1)],
};

/// Duration of a brownout in seconds.
const BROWNOUT: u32 = 20;
/// Maximum time in seconds until a slow server gets less, and until a recovered server has its
/// share again.
const NOTICED: u32 = 5;
const RECOVERED: u32 = 10;
/// Times that a slow server may come from next to nothing to its whole share in one brownout.
const MAX_SWINGS: usize = 4;

const READS: &str = "[limits]\nmax_in_flight = \"off\"\n[catalog]\nroll = false\n";

/// Returns the first replica's share of the requests sent in each of these seconds.
fn parts(site: &Site, from: Instant, seconds: u32) -> Vec<f64> {
    let part = |second: u32| {
        let begins = from + SECOND * second;
        let sent = || {
            site.done
                .iter()
                .filter(move |done| (begins..begins + SECOND).contains(&done.sent))
        };
        sent().filter(|done| done.server == 1).count() as f64 / sent().count().max(1) as f64
    };
    (0..seconds).map(part).collect()
}

fn mean(parts: &[f64], seconds: Range<u32>) -> f64 {
    let parts = &parts[seconds.start as usize..seconds.end as usize];
    parts.iter().sum::<f64>() / parts.len() as f64
}

/// A main that reads nothing, and equal replicas.
fn replicas(chance: &mut Chance) -> Vec<usize> {
    let (cores, count) = (chance.between(3, 8), chance.between(2, 4));
    std::iter::once(0)
        .chain(std::iter::repeat_n(cores as usize, count as usize))
        .collect()
}

/// The parts of the first replica, second by second for sixty seconds, with a brownout at their
/// beginning or without one.
fn brownout(seed: u64, is_slow: bool, learns: bool) -> Vec<f64> {
    let mut chance = Chance::new(seed);
    let cores = replicas(&mut chance);
    let load = chance.between(30, 50) as f64 / 100.0;
    let slower = chance.between(5, 15) as f64;
    let mix = MIXED.of_load(load, cores.iter().sum());
    let mut site = site(seed, &cores, mix, READS);
    site.learns = learns;
    site.run(SECOND * 10);
    let begins = site.now;
    if is_slow {
        site.set_speed(1, 1.0 / slower);
    }
    site.run(SECOND * BROWNOUT);
    site.set_speed(1, 1.0);
    site.run(SECOND * 60);
    parts(&site, begins, 60)
}

#[test]
fn a_slow_server_gets_less_within_seconds_without_swings_and_its_share_again_when_it_has_recovered()
{
    for seed in 0..SEEDS {
        let (slow, even) = (brownout(seed, true, true), brownout(seed, false, false));
        let during = NOTICED..BROWNOUT;
        let (got, usual) = (mean(&slow, during.clone()), mean(&even, during));
        assert!(
            got < usual * 0.6,
            "seed {seed}: it is slow, and gets {got:.2}, {usual:.2} if it is not: {slow:.2?}"
        );
        let swings = swings(&slow[..BROWNOUT as usize], usual);
        assert!(
            swings <= MAX_SWINGS,
            "seed {seed}: {swings} times from nothing to {usual:.2}: {slow:.2?}"
        );
        let after = BROWNOUT + RECOVERED..60;
        let (got, usual) = (mean(&slow, after.clone()), mean(&even, after));
        assert!(
            got > usual * 0.75,
            "seed {seed}: it has recovered, and gets {got:.2} of {usual:.2}: {slow:.2?}"
        );
    }
}

/// Counts how often the share rose from next to nothing to the whole.
fn swings(parts: &[f64], usual: f64) -> usize {
    let (mut swings, mut was_low) = (0, false);
    for part in parts {
        if *part < usual * 0.2 {
            was_low = true;
        } else if *part > usual * 0.8 && was_low {
            (swings, was_low) = (swings + 1, false);
        }
    }
    swings
}

#[test]
fn a_server_that_merely_has_more_to_do_is_not_starved() {
    for seed in 0..SEEDS {
        let got = |learns: bool| {
            let mut chance = Chance::new(seed);
            let cores = replicas(&mut chance);
            let mix = MIXED.of_load(0.3, cores.iter().sum());
            let more = format!("{READS}[classes.process]\nserved_by = \"r1\"\n");
            let mut site = site(seed, &cores, mix, &more);
            site.learns = learns;
            site.run(SECOND * 10);
            let begins = site.now;
            // A third of its cores is busy with processes that only it runs.
            (0..cores[1] / 3).for_each(|_| site.send(Process, f64::from(BROWNOUT)));
            site.run(SECOND * 60);
            parts(&site, begins, BROWNOUT)
        };
        let (ours, naive) = (got(true), got(false));
        let (part, usual) = (mean(&ours, 1..BROWNOUT), mean(&naive, 1..BROWNOUT));
        assert!(
            part > usual / 2.0,
            "seed {seed}: two thirds of it are free, and it gets {part:.2}, and {usual:.2} by least connections: {ours:.2?}"
        );
    }
}

#[test]
fn a_roll_costs_no_more_throughput_than_the_replica_that_is_out() {
    for seed in 0..SEEDS {
        let mut chance = Chance::new(seed);
        let (cores, count) = (chance.between(2, 6) as usize, chance.between(2, 5) as usize);
        let servers: Vec<usize> = std::iter::repeat_n(cores, count + 1).collect();
        let helps = chance.percent(50);
        let more = format!(
            "[limits]\nmax_in_flight = {}\n[catalog]\npoll = \"1s\"\nsettle = \"1s\"\nmain_helps = {helps}\nroll_share = 100\n\
             [classes.feature]\npriority = 1\n",
            cores + 2
        );
        // More than it can do, so that what it does is its capacity.
        let mix = Mix {
            gap: 0.0,
            classes: [(Map, 0.15, 70), (Tile, 0.05, 20), (Feature, 0.4, 10)],
        }
        .of_load(1.1, cores * (count + 1));
        let mut site = site(seed, &servers, mix, &more);
        site.run(SECOND * 5);
        site.publish();
        while !site.is_any_out() {
            assert!(site.now < site.start + SECOND * 30, "seed {seed}: no roll");
            site.run(SECOND / 50);
        }
        let begins = site.now;
        while !site.is_all_fresh() {
            assert!(site.waiting() > 0, "seed {seed}: there is enough to do");
            assert!(site.now < begins + SECOND * 120, "seed {seed}: no end");
            site.run(SECOND / 50);
        }
        let (ends, length) = (site.now, (site.now - begins).as_secs_f64());
        let done: f64 = site
            .done
            .iter()
            .filter(|done| (begins..ends).contains(&done.ended))
            .map(|done| done.work)
            .sum();
        // One replica at a time is out, and the main helps or does not.
        let remaining = (cores * (count - 1 + usize::from(helps))) as f64;
        assert!(
            done / length >= remaining * 0.9,
            "seed {seed}: {count} replicas of {cores} cores, the main helps: {helps}; {:.1} of {remaining} cores were used in {length:.1} s",
            done / length
        );
    }
}
