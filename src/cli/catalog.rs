//! `geofront catalog`: the last rolls, and their pause.

use std::io::Write;

use super::args::CatalogOrder;
use super::client::AdminClient;
use super::exit::{Exit, Failure};
use super::humanize::took;
use super::table::{Side, aligned};
use crate::admin::answers::Rolls;
use crate::control::PastRoll;
use crate::unix_time::rfc3339;

pub(super) fn run(
    order: &CatalogOrder,
    client: &AdminClient,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    match order {
        CatalogOrder::History(_) => {
            for line in lines(&client.rolls()?) {
                writeln!(out, "{line}")?;
            }
        }
        CatalogOrder::Pause(_) => {
            client.pause_rolls(true)?;
            writeln!(
                out,
                "rolls are paused: no replica leaves service for its catalog until `geofront catalog resume`"
            )?;
        }
        CatalogOrder::Resume(_) => {
            client.pause_rolls(false)?;
            writeln!(out, "rolls go on")?;
        }
    }
    Ok(Exit::Success)
}

fn lines(rolls: &Rolls) -> Vec<String> {
    let mut lines = if rolls.rolls.is_empty() {
        vec!["no roll has ended since geofront started".to_owned()]
    } else {
        let headings = ["BEGAN", "WHY", "USERS", "TOOK", "RELOADED", "FAILED"]
            .map(|heading| (heading, Side::Left));
        aligned(&headings, &rolls.rolls.iter().map(row).collect::<Vec<_>>())
    };
    if rolls.paused {
        lines.push("rolls are paused: `geofront catalog resume`".to_owned());
    }
    lines
}

fn row(roll: &PastRoll) -> Vec<String> {
    let reloaded: Vec<&str> = roll
        .replicas
        .iter()
        .filter(|r| r.failure.is_none())
        .map(|r| r.upstream.as_str())
        .collect();
    let failure = |reload: &crate::control::PastReload| {
        let cause = reload
            .failure
            .as_deref()?
            .lines()
            .next()
            .unwrap_or_default();
        Some(format!("{}: {cause}", reload.upstream))
    };
    let failed: Vec<String> = roll.replicas.iter().filter_map(failure).collect();
    vec![
        rfc3339(roll.began_unix),
        roll.why.clone(),
        roll.by.join(", "),
        took(roll.took_ms),
        reloaded.join(", "),
        failed.join("; "),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::PastReload;

    #[test]
    fn the_history_shows_time_reason_operator_duration_and_failures() {
        let of = |upstream: &str, failure: Option<&str>| PastReload {
            upstream: upstream.to_owned(),
            took_ms: failure.is_none().then_some(3200),
            failure: failure.map(str::to_owned),
        };
        let roll = |why: &str, by: &[&str], replicas| PastRoll {
            began_unix: 1_772_359_354,
            took_ms: 9700,
            epoch: 4,
            why: why.to_owned(),
            by: by.iter().map(|name| (*name).to_owned()).collect(),
            replicas,
        };
        let first = roll(
            "update-sequence",
            &["ann"],
            vec![of("slave1", None), of("slave2", Some("status 500\n  at x"))],
        );
        let rolls = Rolls {
            paused: true,
            rolls: [first, roll("sync", &[], vec![of("slave1", None)])].into(),
        };
        insta::assert_snapshot!(lines(&rolls).join("\n"), @r"
        BEGAN                 WHY              USERS  TOOK   RELOADED  FAILED
        2026-03-01T10:02:34Z  update-sequence  ann    9.7 s  slave1    slave2: status 500
        2026-03-01T10:02:34Z  sync                    9.7 s  slave1
        rolls are paused: `geofront catalog resume`
        ");
        assert_eq!(
            lines(&Rolls::default()),
            ["no roll has ended since geofront started"]
        );
    }
}
