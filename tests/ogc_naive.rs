//! Compares the classifier with a simple, slow oracle. Both agree on plain requests, and no
//! spelling of a write, of administration or of a process is classified as a read. The tiles that
//! GeoServer drops because of a request are dropped from every other tile cache.

#[path = "ogc_naive/bodies.rs"]
mod bodies;
#[path = "ogc_shared/cases.rs"]
mod cases;
#[path = "ogc_shared/harness.rs"]
mod harness;
#[path = "ogc_naive/hostile.rs"]
mod hostile;
#[path = "ogc_shared/oracle/mod.rs"]
mod oracle;
#[path = "ogc_naive/orders.rs"]
mod orders;
#[path = "ogc_naive/plain.rs"]
mod plain;
#[path = "ogc_naive/reads.rs"]
mod reads;
#[path = "ogc_naive/refusals.rs"]
mod refusals;
#[path = "ogc_shared/spelling.rs"]
mod spelling;
#[path = "ogc_shared/table.rs"]
mod table;
#[path = "ogc_shared/table_request.rs"]
mod table_request;

use geofront::ogc::{CatalogEffect, RequestClass, Service};
use oracle::{Meaning, meanings};
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases::cases(4000))]

    #[test]
    fn a_plain_request_means_one_thing_and_the_classifier_finds_it(request in plain::request()) {
        let found = harness::classified(&request);
        let found = Meaning {
            class: found.class,
            service: found.service.map(Service::as_str),
            operation: found.operation.map(str::to_ascii_lowercase),
            imports: found.processes.catalog == CatalogEffect::Change,
            is_long: found.class == RequestClass::Process
                && !harness::is_short(&found)
                && !(found.is_light && found.service.is_none()),
        };
        prop_assert_eq!(meanings(&request), [found]);
    }

    #[test]
    fn no_spelling_of_a_write_is_taken_for_a_read(request in hostile::request()) {
        harness::check(&request);
    }

    #[test]
    fn no_read_with_the_words_of_a_write_elsewhere_is_a_read(request in reads::request()) {
        harness::check(&request);
    }

    #[test]
    fn no_order_and_no_edit_leaves_an_old_tile_in_another_cache(request in orders::request()) {
        harness::check(&request);
    }

    #[test]
    fn no_spelling_of_a_refused_request_gets_around_the_rule(request in hostile::request()) {
        refusals::check(&request);
    }

    #[test]
    fn a_plain_request_fits_the_rules_about_it_and_no_others(request in plain::request()) {
        refusals::check_plain(&request);
    }
}

#[test]
fn every_rule_that_calls_something_a_read_has_an_example() {
    reads::check_that_every_rule_has_an_example();
}
