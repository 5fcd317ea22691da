//! Tests of noticing, confirming, refuting and settling changes.

use super::*;
use crate::cluster::Tickets;
use crate::cluster::tests::catalog_config;

const SECOND: Duration = Duration::from_secs(1);
/// Seconds after which a change that has not settled never does.
const LONG: u32 = 10_000;

fn known(update_sequence: u64, now: Instant) -> Changes {
    let mut changes = Changes::new();
    assert_eq!(
        changes.read(update_sequence, now, now),
        None,
        "the first number is no change"
    );
    changes
}

#[test]
fn a_number_that_moves_is_a_change_and_one_that_stays_is_none() {
    let now = Instant::now();
    let mut changes = known(7, now);
    assert_eq!(changes.read(7, now, now), None);
    assert_eq!(changes.read(9, now, now), Some(ChangeSource::Number));
    assert_eq!((changes.epoch(), changes.settled()), (1, 0));
}

#[test]
fn a_number_that_falls_is_a_change_too() {
    let now = Instant::now();
    assert_eq!(known(7, now).read(3, now, now), Some(ChangeSource::Number));
}

#[test]
fn changes_close_together_are_one_that_settles_after_the_last() {
    let (start, config) = (Instant::now(), catalog_config());
    let mut changes = known(0, start);
    for second in 0..5 {
        let now = start + SECOND * second;
        changes.read(u64::from(second) + 1, now, now);
        assert!(!changes.pass_time(now, &config));
    }
    let last = start + SECOND * 4;
    let quiet = last + config.settle;
    changes.read(5, quiet - SECOND, quiet - SECOND);
    assert!(!changes.pass_time(quiet - SECOND, &config));
    assert!(changes.pass_time(quiet, &config));
    assert_eq!((changes.epoch(), changes.settled()), (1, 1));
}

#[test]
fn a_main_that_is_slow_to_answer_is_not_taken_for_one_at_rest() {
    let (start, config) = (Instant::now(), catalog_config());
    let mut changes = known(7, start);
    changes.read(8, start, start);
    let quiet = start + config.settle;
    assert!(
        !changes.pass_time(quiet, &config),
        "it was not queried since"
    );
    changes.read(9, quiet - SECOND / 2, quiet + SECOND);
    assert!(
        !changes.pass_time(quiet + SECOND, &config),
        "and a later change was still settling"
    );
    let quiet = quiet + SECOND + config.settle;
    changes.read(9, quiet - SECOND / 2, quiet);
    assert!(changes.pass_time(quiet, &config));
    assert_eq!(changes.epoch(), 1);
}

#[test]
fn changes_without_a_pause_settle_after_settle_max() {
    let (start, config) = (Instant::now(), catalog_config());
    let mut changes = known(0, start);
    let settles = (0..LONG).map(|second| start + SECOND * second).find(|now| {
        changes.read(now.duration_since(start).as_secs() + 1, *now, *now);
        changes.pass_time(*now, &config)
    });
    assert_eq!(settles, Some(start + config.settle_max));
}

#[test]
fn a_hint_alone_is_no_change_when_the_number_stays() {
    let now = Instant::now();
    let mut changes = known(7, now);
    assert_eq!(changes.hint(&Sighting::of(Hint::Write, now), now).1, None);
    assert!(!changes.is_at_rest());
    assert_eq!(changes.read(7, now, now), None);
    assert!(changes.is_at_rest());
    assert_eq!(changes.epoch(), 0);
}

#[test]
fn an_answer_to_an_older_question_refutes_no_hint() {
    let now = Instant::now();
    let mut changes = known(7, now);
    changes.hint(&Sighting::of(Hint::Write, now + SECOND), now + SECOND);
    changes.read(7, now, now + SECOND);
    assert!(!changes.is_at_rest());
    assert_eq!(changes.poll_pause(&catalog_config()), Duration::ZERO);
}

#[test]
fn a_write_counts_as_soon_as_the_number_cannot_be_read_and_a_file_never() {
    let now = Instant::now();
    let mut changes = known(7, now);
    changes.hint(&Sighting::of(Hint::File, now), now);
    assert_eq!(
        (changes.unreadable(now, now), changes.is_at_rest()),
        (None, true)
    );
    changes.hint(&Sighting::of(Hint::Write, now), now);
    changes.hint(&Sighting::of(Hint::Ui, now), now);
    assert_eq!(changes.unreadable(now, now), Some(ChangeSource::Write));
}

#[test]
fn a_click_that_no_number_refutes_counts_after_a_while() {
    let (start, config) = (Instant::now(), catalog_config());
    let mut changes = known(7, start);
    changes.hint(&Sighting::of(Hint::Ui, start), start);
    let counts = (0..LONG).map(|second| start + SECOND * second).find(|now| {
        let change = changes.unreadable(*now, *now);
        assert!(
            change.is_some() || changes.poll_pause(&config) == SECOND,
            "the main is queried again, and not in a loop"
        );
        change.is_some()
    });
    assert_eq!(counts, Some(start + UNANSWERED));
}

#[test]
fn a_click_that_a_late_number_refutes_is_no_change() {
    let now = Instant::now();
    let mut changes = known(7, now);
    changes.hint(&Sighting::of(Hint::Ui, now), now);
    assert_eq!(changes.unreadable(now, now), None);
    assert_eq!(changes.read(7, now + SECOND, now + SECOND), None);
    assert!(changes.is_at_rest() && changes.silent_since().is_none());
}

#[test]
fn a_reload_of_the_main_or_a_change_of_its_security_needs_no_number() {
    let now = Instant::now();
    assert_eq!(
        known(7, now).hint(&Sighting::of(Hint::Certain, now), now).1,
        Some(ChangeSource::Write)
    );
    let mut changes = known(7, now);
    assert_eq!(
        (
            changes.hint(&Sighting::of(Hint::Security, now), now).1,
            changes.security()
        ),
        (Some(ChangeSource::Write), 1)
    );
}

#[test]
fn an_order_settles_at_once_together_with_the_pending_change() {
    let now = Instant::now();
    let mut changes = known(7, now);
    changes.read(8, now, now);
    assert_eq!(changes.order(now), 2);
    assert_eq!(changes.settled(), 2);
    changes.check_invariants();
}

#[test]
fn another_main_is_a_change_and_so_is_its_first_number() {
    let (now, config) = (Instant::now(), catalog_config());
    let mut changes = known(7, now);
    assert_eq!(changes.another_main(now), Some(ChangeSource::Main));
    let later = now + config.settle;
    changes.unreadable(later, later);
    assert!(changes.pass_time(later, &config));
    assert_eq!(
        changes.read(7, later, later),
        Some(ChangeSource::Main),
        "what it changed meanwhile is nowhere else"
    );
    assert_eq!(changes.read(7, later, later), None);
}

#[test]
fn a_hint_is_not_answered_by_a_question_from_before_it_that_came_to_nothing() {
    let now = Instant::now();
    let mut changes = known(7, now);
    changes.hint(&Sighting::of(Hint::Ui, now + SECOND), now + SECOND);
    assert_eq!(changes.unreadable(now, now + UNANSWERED * 2), None);
    assert!(!changes.is_at_rest());
}

#[test]
fn clicks_without_a_pause_do_not_delay_a_change_beyond_settle_max() {
    let (start, config) = (Instant::now(), catalog_config());
    let mut changes = known(0, start);
    changes.read(1, start, start);
    let settles = (1..LONG).map(|second| start + SECOND * second).find(|now| {
        changes.hint(&Sighting::of(Hint::Ui, *now), *now);
        changes.read(1, *now - SECOND, *now);
        changes.pass_time(*now, &config)
    });
    assert_eq!(settles, Some(start + config.settle_max));
}

#[test]
fn the_settled_epoch_at_a_time_is_known_from_the_time_it_settled() {
    let (start, config) = (Instant::now(), catalog_config());
    let mut changes = Changes::new();
    assert_eq!(
        changes.settled_at(start),
        None,
        "nothing is known before the main has reported its update sequence"
    );
    changes.read(0, start, start);
    assert_eq!(changes.settled_at(start), Some(0));
    changes.read(1, start, start);
    let settled = start + config.settle;
    changes.read(1, settled, settled);
    changes.pass_time(settled, &config);
    assert_eq!(
        (changes.settled_at(start), changes.settled_at(settled)),
        (None, Some(1))
    );
}

/// Returns the progress in following hints up, with nothing rolled out since `resolved`.
fn tickets(changes: &Changes, resolved: Ticket) -> Tickets {
    Tickets {
        resolved,
        answered: changes.answered_ticket(),
        changed: changes.changed_ticket(),
    }
}

fn is_pending(changes: &Changes, ticket: Ticket) -> bool {
    tickets(changes, Ticket(0)).is_pending(ticket, ticket)
}

#[test]
fn clicks_without_a_pause_are_each_answered_by_the_next_reading() {
    let start = Instant::now();
    let mut changes = known(7, start);
    for click in 1..=1000 {
        let now = start + Duration::from_millis(50) * click;
        let (ticket, _) = changes.hint(&Sighting::of(Hint::Ui, now), now);
        assert!(is_pending(&changes, ticket), "it may be a change");
        // The next click comes before the answer.
        let (next, _) = changes.hint(&Sighting::of(Hint::Ui, now), now + SECOND / 50);
        changes.read(7, now, now + SECOND / 40);
        assert!(
            !is_pending(&changes, ticket) && is_pending(&changes, next),
            "click {click}"
        );
        changes.read(7, now + SECOND / 40, now + SECOND / 30);
    }
}

#[test]
fn more_hints_than_are_noted_are_followed_up_all_the_same() {
    let start = Instant::now();
    let mut changes = known(7, start);
    let sighted = |changes: &mut Changes, hint| changes.hint(&Sighting::of(hint, start), start).0;
    let write = sighted(&mut changes, Hint::Write);
    let last = (0..1000)
        .map(|_| sighted(&mut changes, Hint::Ui))
        .last()
        .unwrap();
    assert!(changes.unanswered.len() <= MAX_UNANSWERED);
    assert!(is_pending(&changes, write) && is_pending(&changes, last));
    assert_eq!(changes.unreadable(start, start), Some(ChangeSource::Write));
    assert!(is_pending(&changes, write) && changes.is_settled().eq(&false));
}

#[test]
fn a_write_whose_change_was_read_before_its_answer_came_is_pending_all_the_same() {
    let start = Instant::now();
    let mut changes = known(7, start);
    let (began, read, answered) = (start + SECOND, start + SECOND * 2, start + SECOND * 3);
    assert_eq!(changes.read(8, read, read), Some(ChangeSource::Number));
    let (ticket, _) = changes.hint(
        &Sighting {
            hint: Hint::Write,
            began,
            by: None,
            workspace: None,
        },
        answered,
    );
    changes.read(8, answered, answered);
    assert!(is_pending(&changes, ticket));
    let (later, _) = changes.hint(
        &Sighting {
            hint: Hint::Ui,
            began: answered,
            by: None,
            workspace: None,
        },
        answered + SECOND,
    );
    changes.read(8, answered + SECOND, answered + SECOND);
    assert!(
        !is_pending(&changes, later),
        "what was noticed before it began is not its change"
    );
}

#[test]
fn a_write_that_the_first_number_counts_already_is_pending() {
    let start = Instant::now();
    let mut changes = Changes::new();
    let (began, read, answered) = (start + SECOND, start + SECOND * 2, start + SECOND * 3);
    assert_eq!(
        changes.read(8, read, read),
        None,
        "there is nothing to compare it with"
    );
    let (ticket, _) = changes.hint(
        &Sighting {
            hint: Hint::Write,
            began,
            by: None,
            workspace: None,
        },
        answered,
    );
    changes.read(8, answered, answered);
    assert!(
        is_pending(&changes, ticket),
        "a replica may have loaded before it"
    );
}

/// Returns a REST write about this workspace that ran from `began` until `now`.
fn write_about(workspace: u64, began: Instant) -> Sighting {
    Sighting {
        workspace: Some(workspace),
        began,
        ..Sighting::of(Hint::Write, began)
    }
}

#[test]
fn a_change_that_a_write_explains_concerns_its_workspace_alone() {
    let now = Instant::now();
    let mut changes = known(7, now);
    changes.hint(&write_about(1, now), now);
    changes.read(8, now, now);
    assert_eq!(changes.concern(), Concern::Workspaces(vec![1]));
    changes.hint(&Sighting::of(Hint::Ui, now + SECOND), now + SECOND);
    changes.read(9, now + SECOND, now + SECOND);
    assert_eq!(
        changes.concern(),
        Concern::Everything,
        "a form may have changed anything"
    );
}

#[test]
fn a_move_that_nothing_explains_concerns_everything_until_its_write_passes_by() {
    let now = Instant::now();
    let mut changes = known(7, now);
    changes.read(8, now + SECOND, now + SECOND);
    assert_eq!(changes.concern(), Concern::Everything);
    let passed = now + SECOND * 2;
    changes.hint(&write_about(1, passed), passed);
    changes.read(8, passed, passed);
    assert_eq!(
        changes.concern(),
        Concern::Everything,
        "it began after that"
    );
    changes.hint(&write_about(1, now), passed + SECOND);
    changes.read(8, passed + SECOND, passed + SECOND);
    assert_eq!(
        changes.concern(),
        Concern::Workspaces(vec![1]),
        "it ran when the update sequence changed"
    );
    changes.forget_concern();
    assert_eq!(changes.concern(), Concern::default());
}

#[test]
fn an_ordered_reload_waits_for_an_update_sequence_that_was_read_after_the_order() {
    let (start, second) = (Instant::now(), SECOND);
    let mut changes = known(7, start);
    changes.read(7, start, start);
    let epoch = changes.order(start + second);
    assert!(
        !changes.has_been_queried(),
        "its reloads wait for the number"
    );
    let (before, after) = (start + second / 2, start + second * 2);
    assert_eq!(changes.read(7, before, after), None);
    assert!(
        !changes.has_been_queried(),
        "the question is older than the order"
    );
    assert_eq!(
        changes.read(9, after, after),
        None,
        "no other change: what is reloaded from here on has it"
    );
    assert_eq!((changes.epoch(), changes.settled()), (epoch, epoch));
    assert!(changes.has_been_queried());
    assert_eq!(
        (
            changes.settled_at(start + second),
            changes.settled_at(after)
        ),
        (None, Some(epoch)),
        "what was loaded before the reading may lack it"
    );
    assert_eq!(changes.read(10, after, after), Some(ChangeSource::Number));
}

#[test]
fn an_order_does_not_wait_for_a_main_that_reports_no_number() {
    let start = Instant::now();
    let mut changes = known(7, start);
    changes.order(start + SECOND);
    changes.unreadable(start + SECOND, start + SECOND);
    assert!(changes.has_been_queried());
}

#[test]
fn a_number_that_moved_after_an_orders_reload_began_is_another_change() {
    let start = Instant::now();
    let mut changes = known(7, start);
    changes.order(start + SECOND);
    changes.reload_began();
    assert!(changes.has_been_queried());
    let later = start + SECOND * 9;
    assert_eq!(changes.read(9, later, later), Some(ChangeSource::Number));
}
