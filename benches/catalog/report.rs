//! The table, and whether the targets are met.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::load::Sample;
use crate::measure::{Outcome, RELOAD, WRITES, WRITES_LAST};
use crate::rig::client::Failure;
use crate::rig::question::Fault;
use crate::rig::watch::Roll;

/// From the last write to the last fresh replica, beyond settling and reloading.
const TOLERATED: f64 = 1.1;
const MOST_ROLLS: u64 = 2;

pub(crate) fn print(outcomes: &[Outcome], settle: Duration) {
    println!(
        "\n{:<30}{:>9}{:>7}{:>8}{:>9}{:>9}{:>16}{:>16}{:>20}{:>13}",
        "",
        "requests",
        "wrong",
        "errors",
        "overall",
        "in rolls",
        "new layer late",
        "own not seen",
        "fresh after, s",
        "reloads"
    );
    for outcome in outcomes {
        print_row(outcome);
    }
    println!(
        "\noverall, in rolls: wrong answers and errors, of all requests, and of those sent between an administrator's last write and\n\
         the moment when every replica had it. late: of the requests for a new layer in that time, by anybody; own: by himself."
    );
    for outcome in outcomes {
        print_details(outcome);
    }
    for outcome in outcomes
        .iter()
        .filter(|outcome| outcome.name.starts_with("geofront,"))
    {
        print_verdicts(outcome, settle);
    }
}

fn print_row(outcome: &Outcome) {
    let counted: Vec<&Sample> = outcome
        .samples
        .iter()
        .filter(|sample| !sample.is_late())
        .collect();
    let wrong = counted
        .iter()
        .filter(|sample| sample.fault.is_some_and(Fault::is_wrong_answer))
        .count();
    let errors = counted
        .iter()
        .filter(|sample| sample.fault.is_some())
        .count()
        - wrong;
    let in_rolls: Vec<&Sample> = counted
        .iter()
        .filter(|sample| outcome.is_in_roll(sample))
        .copied()
        .collect();
    let about: Vec<Sample> = outcome
        .samples
        .iter()
        .filter(|sample| sample.is_about_change)
        .copied()
        .collect();
    let fresh: Vec<String> = outcome
        .rolls
        .iter()
        .map(|roll| format!("{:.1}", roll.fresh_after.as_secs_f64()))
        .collect();
    println!(
        "{:<30}{:>9}{wrong:>7}{errors:>8}{:>9}{:>9}{:>16}{:>16}{:>20}{:>13}",
        outcome.name,
        outcome.samples.len(),
        percent(wrong + errors, counted.len()),
        percent(faulty(in_rolls.iter().copied()), in_rolls.len()),
        part(&about),
        part(&outcome.own),
        fresh.join(" "),
        joined(&outcome.reloads)
    );
}

fn print_details(outcome: &Outcome) {
    println!();
    let name = &outcome.name;
    let (late, other): (Vec<Sample>, Vec<Sample>) =
        outcome.samples.iter().copied().partition(Sample::is_late);
    for (what, samples) in [
        ("", &other),
        ("late: ", &late),
        ("not seen by the administrator himself: ", &outcome.own),
    ] {
        let kinds = kinds(samples);
        if !kinds.is_empty() {
            println!("{name}: {what}{kinds}");
        }
    }
    for roll in &outcome.rolls {
        println!("{name}: {}", story(roll));
    }
    if let Some(writes) = &outcome.writes {
        let (lasts, fresh) = (WRITES_LAST.as_secs(), writes.fresh_after.as_secs_f64());
        let reloads = joined(&writes.reloads);
        println!(
            "{name}: {WRITES} writes in {lasts} s: reloads {reloads}, fresh {fresh:.1} s after the last"
        );
    }
    if let Some(trouble) = &outcome.trouble {
        println!("{name}: ENDED EARLY: {trouble}");
    }
}

/// How often which fault.
fn kinds(samples: &[Sample]) -> String {
    let mut kinds: BTreeMap<Fault, usize> = BTreeMap::new();
    for fault in samples.iter().filter_map(|sample| sample.fault) {
        *kinds.entry(fault).or_default() += 1;
    }
    kinds
        .iter()
        .map(|(fault, count)| format!("{count} {}", words(*fault)))
        .collect::<Vec<_>>()
        .join(", ")
}

fn print_verdicts(outcome: &Outcome, settle: Duration) {
    let say = |is_met: bool, what: String| {
        println!(
            "{}: {}: {what}",
            outcome.name,
            if is_met { "met" } else { "MISSED" }
        )
    };
    println!();
    let faults = faulty(outcome.samples.iter().filter(|sample| !sample.is_late()));
    say(
        faults == 0,
        format!("{faults} wrong answers and errors, to reach: none"),
    );
    let stale = outcome
        .samples
        .iter()
        .filter(|sample| sample.is_late() && sample.fault == Some(Fault::LayerMissing))
        .count();
    say(
        stale == 0,
        format!("{stale} capabilities from before a change that was confirmed, to reach: none"),
    );
    let own = faulty(outcome.own.iter());
    say(
        own == 0,
        format!("{own} times an administrator did not see his own change, to reach: none"),
    );
    for roll in &outcome.rolls {
        let needed: Duration = settle
            + roll
                .reloads
                .iter()
                .map(|reload| reload.drain + RELOAD)
                .sum::<Duration>();
        let ratio = roll.fresh_after.as_secs_f64() / needed.as_secs_f64();
        say(
            ratio <= TOLERATED,
            format!(
                "fresh after {ratio:.2} x (settling + drains + reloads), to reach: {TOLERATED}"
            ),
        );
    }
    if let Some(most) = outcome
        .writes
        .as_ref()
        .and_then(|writes| writes.reloads.iter().max())
    {
        say(
            *most <= MOST_ROLLS,
            format!("{WRITES} writes caused {most} rolls, to reach: at most {MOST_ROLLS}"),
        );
    }
    say(
        outcome.trouble.is_none(),
        "the day came to its end".to_owned(),
    );
}

impl Sample {
    /// Returns whether a new layer was not there yet, which does not count as wrong.
    fn is_late(&self) -> bool {
        self.is_about_change && self.fault.is_some_and(Fault::is_wrong_answer)
    }
}

impl Outcome {
    fn is_in_roll(&self, sample: &Sample) -> bool {
        self.rolls
            .iter()
            .any(|roll| (roll.confirmed..roll.confirmed + roll.fresh_after).contains(&sample.sent))
    }
}

/// The settling, each reload with the drain before it, and what lies between them: canary,
/// re-admission.
fn story(roll: &Roll) -> String {
    let mut story = String::new();
    let mut at = Duration::ZERO;
    for reload in &roll.reloads {
        let (wait, took) = (reload.began.saturating_sub(at), reload.ended - reload.began);
        let [wait, drain, took] = [wait, reload.drain, took].map(|time| time.as_secs_f64());
        story += &format!("{wait:.2} s ({drain:.2} s of it drain), reload {took:.2} s, ");
        at = reload.ended;
    }
    format!(
        "after the last write {story}all fresh after {:.2} s",
        roll.fresh_after.as_secs_f64()
    )
}

fn faulty<'a>(samples: impl Iterator<Item = &'a Sample>) -> usize {
    samples.filter(|sample| sample.fault.is_some()).count()
}

fn part(samples: &[Sample]) -> String {
    format!("{} of {}", faulty(samples.iter()), samples.len())
}

fn percent(part: usize, whole: usize) -> String {
    format!("{:.1} %", part as f64 / whole.max(1) as f64 * 100.0)
}

fn joined(counts: &[u64]) -> String {
    counts
        .iter()
        .map(u64::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}

fn words(fault: Fault) -> String {
    match fault {
        Fault::Exception => "exceptions for layers that are there".to_owned(),
        Fault::NotFound => "not found, though there".to_owned(),
        Fault::LayerMissing => "capabilities without a layer that is there".to_owned(),
        Fault::Incomplete => "incomplete".to_owned(),
        Fault::NoImage => "no image".to_owned(),
        Fault::Stale => "from a catalog long replaced".to_owned(),
        Fault::Refused(status) => format!("refused with {status}"),
        Fault::Broke(status) => format!("broken with {status}"),
        Fault::Failed(Failure::Connect) => "not connected".to_owned(),
        Fault::Failed(Failure::Broken) => "broken off".to_owned(),
        Fault::Failed(Failure::TimedOut) => "given up".to_owned(),
    }
}
