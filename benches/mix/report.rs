//! The tables, and whether the targets are met.

use std::time::Duration;

use crate::arrivals::{Arrival, Kind};
use crate::bound::Bound;
use crate::direct::Direct;
use crate::drive::End;
use crate::in_time::InTime;
use crate::latencies::{Latencies, Latency};
use crate::outcome::Outcome;
use crate::rig::client::Failure;
use crate::rolls::Change;
use crate::scenario::{Scenario, Target};

/// The rig adds less than this to nearly every request, or its figures are not to be trusted.
const TOLERABLE_EXCESS: Duration = Duration::from_millis(5);

pub(crate) fn print_direct(direct: &Direct) {
    let is_good = direct
        .excess
        .at(0.99)
        .is_some_and(|excess| excess <= TOLERABLE_EXCESS);
    println!(
        "rig       {} requests, {:.0} a second, straight to replicas with room for all: beyond their own work they take \
         p50 {}, p99 {} ms; sent late p99 {} ms: {}\n",
        direct.requests,
        direct.per_second,
        ms(direct.excess.at(0.5)),
        ms(direct.excess.at(0.99)),
        ms(direct.late.at(0.99)),
        if is_good {
            "not the bottleneck"
        } else {
            "THE RIG ITSELF IS SLOW, do not trust what follows"
        }
    );
}

pub(crate) fn print(
    scenario: &Scenario,
    arrivals: &[Arrival],
    outcomes: &[Outcome],
    bounds: &[Bound],
) {
    let counted = arrivals
        .iter()
        .filter(|arrival| arrival.at >= scenario.counted_from);
    let (requests, work) = counted.fold((0, 0.0), |(count, work), arrival| {
        (count + 1, work + arrival.work.as_secs_f64())
    });
    let lasts = (scenario.plan.lasts() - scenario.counted_from).as_secs_f64();
    println!("== {}", scenario.name);
    println!(
        "   {requests} requests in {lasts:.0} s; the work that came was {:.2} of what the replicas can do\n",
        work / lasts / scenario.capacity()
    );
    println!(
        "   milliseconds {:<29}{:^24} {:^24} {:^15} {:>7} {:^30} {:>11} {:>9} {:>16}",
        "",
        "tile p50, p95, p99",
        "map p50, p95, p99",
        "heavy p50, p95",
        "all p99",
        "% in time: tile, map, heavy, all",
        "unanswered",
        "CPU",
        "RSS MB, most"
    );
    for outcome in outcomes {
        let [first, most, _] = outcome.cost.memory.map(|kib| kib as f64 / 1024.0);
        println!(
            "   {}{:>12}{:>7} us{:>9.1} to {most:.1}",
            times(
                &outcome.name,
                &outcome.kinds,
                &outcome.all,
                &outcome.in_time
            ),
            outcome.unanswered_in_all(),
            outcome.cost.cpu_per_request.as_micros(),
            first
        );
    }
    for outcome in outcomes
        .iter()
        .filter(|outcome| !outcome.unanswered.is_empty())
    {
        let kinds: Vec<String> = outcome
            .unanswered
            .iter()
            .map(|(end, count)| format!("{count} {}", words(*end)))
            .collect();
        println!(
            "   {}, of {}: {}",
            outcome.name,
            outcome.asked,
            kinds.join(", ")
        );
    }
    for outcome in outcomes
        .iter()
        .filter(|outcome| outcome.late.at(0.99) > Some(TOLERABLE_EXCESS))
    {
        println!(
            "   {}: requests were SENT LATE, p99 {} ms: do not trust this row",
            outcome.name,
            ms(outcome.late.at(0.99))
        );
    }
    if !bounds.is_empty() {
        println!("   the same arrivals in the model, where the front door costs nothing:");
    }
    for bound in bounds {
        println!(
            "   {}",
            times(
                &format!("model: {}", bound.policy),
                &bound.kinds,
                &bound.all,
                &bound.in_time
            )
        );
    }
    print_overload(outcomes);
    print_rolls(outcomes);
    print_ratios(outcomes);
    print_verdicts(scenario, outcomes);
}

fn times(name: &str, kinds: &[Latencies; 3], all: &Latencies, in_time: &InTime) -> String {
    let [tile, map, heavy] = kinds;
    let three = |of: &Latencies| {
        [0.5, 0.95, 0.99]
            .map(|q| format!("{:>8}", latency(of.at(q))))
            .concat()
    };
    let two = [0.5, 0.95]
        .map(|q| format!("{:>8}", latency(heavy.at(q))))
        .concat();
    let shares = [Kind::Tile, Kind::Map, Kind::Heavy].map(|kind| in_time.of(kind));
    let percent = |share: f64| format!("{:>7.2}", share * 100.0);
    let in_time = shares.map(percent).concat() + &percent(in_time.of_all());
    format!(
        "{name:<42}{} {} {two} {:>7} {in_time:>30}",
        three(tile),
        three(map),
        latency(all.at(0.99))
    )
}

fn print_overload(outcomes: &[Outcome]) {
    for outcome in outcomes {
        let Some(overload) = outcome.overload else {
            continue;
        };
        let recovery = overload.recovery.map_or_else(
            || "not within the run".to_owned(),
            |after| format!("{} s after", after.as_secs()),
        );
        let [first, most, last] = outcome.cost.memory.map(|kib| kib as f64 / 1024.0);
        println!(
            "   {}: goodput {:.2} of capacity, {:.0} % answered in time, tiles recovered {recovery}, RSS {first:.1}, {most:.1}, {last:.1} MB",
            outcome.name,
            overload.goodput,
            overload.in_time * 100.0
        );
    }
}

fn print_rolls(outcomes: &[Outcome]) {
    for outcome in outcomes {
        let Some(rolls) = &outcome.rolls else {
            continue;
        };
        let [wrong, stale] = [rolls.wrong, rolls.stale].map(|[tile, map, heavy]| {
            format!(
                "{} (tile {tile}, map {map}, heavy {heavy})",
                tile + map + heavy
            )
        });
        let percent = |part: usize| 100.0 * part as f64 / rolls.came.max(1) as f64;
        println!(
            "   {}: wrong answers {wrong}, stale {stale}; while changes spread {:.2} % of {} in time, {:.0} % by the main",
            outcome.name,
            rolls.in_time.of_all() * 100.0,
            rolls.came,
            percent(rolls.by_main)
        );
        for change in &rolls.changes {
            let Change {
                looks,
                unseen,
                reloads,
                ..
            } = change;
            let spread = change.fresh.map_or_else(
                || {
                    format!(
                        "NOT EVERYWHERE: {}",
                        change.trouble.as_deref().unwrap_or("")
                    )
                },
                |fresh| {
                    let after = (fresh - change.published).as_secs_f64();
                    format!("everywhere after {after:.1} s, {reloads} reloads")
                },
            );
            println!(
                "   {}: published at {:.0} s, {spread}; not seen by the publisher in {unseen} of {looks} reads",
                outcome.name,
                change.published.as_secs_f64()
            );
        }
    }
}

/// Beside the first, which is leastconn.
fn print_ratios(outcomes: &[Outcome]) {
    let Some((first, others)) = outcomes.split_first() else {
        return;
    };
    println!("   beside {}:", first.name);
    for outcome in others {
        println!(
            "   {:<42}tile p99 {}, map p99 {}, all p99 {}, heavy p95 {}",
            outcome.name,
            multiple(outcome.of(Kind::Tile), first.of(Kind::Tile), 0.99),
            multiple(outcome.of(Kind::Map), first.of(Kind::Map), 0.99),
            multiple(&outcome.all, &first.all, 0.99),
            multiple(outcome.of(Kind::Heavy), first.of(Kind::Heavy), 0.95)
        );
    }
}

/// Of geofront, by the first.
fn print_verdicts(scenario: &Scenario, outcomes: &[Outcome]) {
    let Some(first) = outcomes.first() else {
        return;
    };
    for outcome in outcomes
        .iter()
        .filter(|outcome| outcome.name.starts_with("geofront"))
    {
        for target in scenario.targets {
            println!("   {}: {}", outcome.name, verdict(*target, outcome, first));
        }
        // A quantile does not show failures that are rarer than what is above it.
        if scenario.overload.is_none() && outcome.unanswered_in_all() > first.unanswered_in_all() {
            println!(
                "   {}: MISSED: {} requests were not answered",
                outcome.name,
                outcome.unanswered_in_all()
            );
        }
    }
    println!();
}

fn verdict(target: Target, outcome: &Outcome, first: &Outcome) -> String {
    let at_most = |what: &str, value: f64, most: f64| {
        format!(
            "{}: {what} {value:.3}, to reach: at most {most}",
            if value <= most { "met" } else { "MISSED" }
        )
    };
    match target {
        Target::TileP99(most) => at_most(
            "tile p99 x",
            outcome.of(Kind::Tile).ratio(first.of(Kind::Tile), 0.99),
            most,
        ),
        Target::AllP99(most) => at_most("all p99 x", outcome.all.ratio(&first.all, 0.99), most),
        Target::HeavyP95(most) => at_most(
            "heavy p95 x",
            outcome.of(Kind::Heavy).ratio(first.of(Kind::Heavy), 0.95),
            most,
        ),
        Target::InTime => {
            let [own, other] = [outcome, first].map(|outcome| outcome.in_time.of_all() * 100.0);
            let is_met = own >= other;
            format!(
                "{}: {own:.2} % in time, to reach: {other:.2}",
                if is_met { "met" } else { "MISSED" }
            )
        }
        Target::InTimeShare(least) => {
            let in_rolls = outcome.rolls.as_ref().map(|rolls| rolls.in_time.of_all());
            let [all, in_rolls] = [outcome.in_time.of_all(), in_rolls.unwrap_or(0.0)];
            format!(
                "{}: {:.2} % in time, {:.2} % while changes spread, to reach: {:.0} % in both",
                if all.min(in_rolls) >= least {
                    "met"
                } else {
                    "MISSED"
                },
                all * 100.0,
                in_rolls * 100.0,
                least * 100.0
            )
        }
        Target::NoWrongAnswer => {
            let (faults, is_complete) = outcome
                .rolls
                .as_ref()
                .map_or((0, false), |rolls| (rolls.faults(), rolls.are_complete()));
            format!(
                "{}: {faults} answers wrong, stale or without the publisher's own change, to reach: 0, and every change everywhere",
                if faults == 0 && is_complete {
                    "met"
                } else {
                    "MISSED"
                }
            )
        }
        Target::Goodput(least) => {
            let goodput = outcome.overload.map_or(0.0, |overload| overload.goodput);
            format!(
                "{}: goodput {goodput:.2}, to reach: at least {least}",
                if goodput >= least { "met" } else { "MISSED" }
            )
        }
        Target::Recovery(most) => {
            let after = outcome
                .overload
                .and_then(|overload| overload.recovery)
                .map_or(f64::INFINITY, |after| after.as_secs_f64());
            at_most("seconds to recover", after, most)
        }
    }
}

/// A quantile as a multiple of the first's, or which of the two has a failure there.
fn multiple(own: &Latencies, first: &Latencies, q: f64) -> String {
    match (own.at(q), first.at(q)) {
        (Some(Latency::Failed), Some(Latency::Failed)) => "failed in both".to_owned(),
        (Some(Latency::Failed), _) => "failed".to_owned(),
        (Some(Latency::Answered(_)), Some(Latency::Failed)) => "failed only there".to_owned(),
        _ => format!("x {:.3}", own.ratio(first, q)),
    }
}

fn latency(value: Option<Latency>) -> String {
    match value {
        Some(Latency::Failed) => "failed".to_owned(),
        Some(Latency::Answered(latency)) => ms(Some(latency)),
        None => ms(None),
    }
}

fn words(end: End) -> String {
    match end {
        End::Answered => "answered".to_owned(),
        End::Refused(status) => format!("refused with {status}"),
        End::Wrong(status) => format!("wrong with {status}"),
        End::Failed(Failure::Connect) => "not connected".to_owned(),
        End::Failed(Failure::Broken) => "broken off".to_owned(),
        End::Failed(Failure::TimedOut) => "given up after two minutes".to_owned(),
        End::Stale => "stale".to_owned(),
        End::NotSent => "not sent, too many were under way".to_owned(),
    }
}

fn ms(value: Option<Duration>) -> String {
    value.map_or_else(
        || "-".to_owned(),
        |value| match value.as_secs_f64() * 1e3 {
            ms if ms < 100.0 => format!("{ms:.1}"),
            ms => format!("{ms:.0}"),
        },
    )
}
