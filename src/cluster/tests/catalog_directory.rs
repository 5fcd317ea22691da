//! Tests of changes that the main's update sequence does not report, because the data directory is
//! changed from outside.

use std::time::Duration;

use super::super::{Cause, Event, FileChange, Hint};
use super::catalogs::{Catalogs, SECOND, with_credentials};
use super::fixture::config;

impl Catalogs {
    fn finds_file(&mut self, before: u64, update_sequence: u64) {
        self.handle(Event::DirectoryChanged(FileChange {
            update_sequence,
            before,
        }));
        self.live(Duration::ZERO);
    }

    fn epoch(&self) -> u64 {
        self.world.cluster.status(self.world.now).catalog.epoch
    }

    fn conditions(&self) -> Vec<&'static str> {
        let status = self.world.cluster.status(self.world.now);
        status
            .conditions
            .iter()
            .map(|held| held.condition.kind())
            .collect()
    }

    fn reloading_main(answers: Result<(), Cause>) -> Self {
        let mut config = with_credentials(config(2));
        config.catalog.reload_main = true;
        Self {
            main_reload_answers: answers,
            ..Self::configured(config)
        }
    }
}

#[test]
fn a_git_pull_in_the_data_directory_reaches_the_replicas_although_the_mains_number_stays() {
    for update_sequence in [50, 3, 10] {
        let mut catalogs = Catalogs::fresh(2);
        catalogs.finds_file(10, update_sequence);
        catalogs.live(SECOND * 30);
        assert_eq!(
            (catalogs.reloads.as_slice(), catalogs.main_reloads),
            (["a", "b"].map(str::to_owned).as_slice(), 0),
            "{update_sequence}"
        );
        assert!(
            catalogs
                .log
                .iter()
                .any(|line| line.contains("source=directory")),
            "{:#?}",
            catalogs.log
        );
        assert!(catalogs.all_fresh());
    }
}

#[test]
fn a_change_that_the_main_writes_into_its_file_counts_once() {
    let mut catalogs = Catalogs::fresh(2);
    catalogs.publish();
    catalogs.live(SECOND);
    // Over NFS the file is seen late, and at update sequences that the main has passed.
    catalogs.finds_file(10, 13);
    catalogs.finds_file(13, 15);
    catalogs.live(SECOND * 30);
    catalogs.finds_file(10, 14);
    catalogs.live(SECOND * 30);
    assert_eq!(
        (catalogs.epoch(), catalogs.reloads.len()),
        (1, 2),
        "{:#?}",
        catalogs.log
    );
}

#[test]
fn a_file_written_by_the_reload_of_a_replica_is_no_change() {
    let mut catalogs = Catalogs {
        after_reload: |main| main + 8,
        ..Catalogs::fresh(2)
    };
    catalogs.publish();
    catalogs.live(catalogs.world.config.catalog.settle);
    assert_eq!(catalogs.reloads, ["a"]);
    catalogs.finds_file(15, 23);
    catalogs.live(SECOND * 60);
    assert_eq!(
        (catalogs.epoch(), catalogs.reloads.len()),
        (1, 2),
        "{:#?}",
        catalogs.log
    );
}

#[test]
fn the_main_reloads_first_where_that_is_configured() {
    let mut catalogs = Catalogs::reloading_main(Ok(()));
    catalogs.finds_file(10, 50);
    catalogs.live(SECOND * 30);
    assert_eq!(
        (catalogs.main_reloads, catalogs.reloads.len()),
        (1, 2),
        "{:#?}",
        catalogs.log
    );
    let at = |what: &str| {
        catalogs
            .log
            .iter()
            .position(|line| line.contains(what))
            .unwrap()
    };
    assert!(
        at("upstream=main catalog=fresh") < at("upstream=a catalog=reloading"),
        "{:#?}",
        catalogs.log
    );
    assert_eq!(catalogs.epoch(), 1);
}

#[test]
fn a_main_that_cannot_reload_keeps_the_replicas_from_it_for_a_bounded_time() {
    let mut catalogs = Catalogs::reloading_main(Err(Cause::Status(500)));
    catalogs.finds_file(10, 50);
    catalogs.live(SECOND * 60);
    assert_eq!(
        (catalogs.main_reloads, catalogs.reloads.len()),
        (3, 2),
        "{:#?}",
        catalogs.log
    );
}

#[test]
fn an_edit_in_the_web_interface_reaches_the_replicas_without_an_update_sequence_of_the_main() {
    let mut catalogs = Catalogs {
        after_reload: |_| 10,
        ..Catalogs::fresh(2)
    };
    catalogs.numbers.remove("main");
    catalogs.live(SECOND * 60);
    assert_eq!(
        (catalogs.conditions(), catalogs.reloads.len()),
        (vec!["update-sequence-unknown"], 0)
    );
    catalogs.hint(Hint::Ui);
    catalogs.live(SECOND * 60);
    assert_eq!(catalogs.reloads, ["a", "b"], "{:#?}", catalogs.log);
    catalogs.numbers.insert("main".to_owned(), 10);
    catalogs.live(SECOND * 60);
    assert_eq!(
        (catalogs.conditions(), catalogs.reloads.len()),
        (vec![], 2),
        "{:#?}",
        catalogs.log
    );
}

#[test]
fn a_change_of_security_is_brought_along_by_the_next_reload_of_each_replica() {
    let mut catalogs = Catalogs::fresh(2);
    let (a, b) = (catalogs.world.id("a"), catalogs.world.id("b"));
    assert!(!catalogs.world.cluster.owes_security(a));
    catalogs.hint(Hint::Security);
    assert!(catalogs.world.cluster.owes_security(a) && catalogs.world.cluster.owes_security(b));
    catalogs.live(SECOND * 30);
    assert_eq!(catalogs.reloads, ["a", "b"]);
    assert!(!catalogs.world.cluster.owes_security(a) && !catalogs.world.cluster.owes_security(b));
}
