//! The findings of `geofront check --probe` in simulated clusters.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::MapEnvironment;
use crate::geosim::{Behaviour, ControlFlow, DataDirectory, Fault, Instance};

/// The results for a main and a replica, with more tables of the configuration.
fn examined(main: &Instance, replica: &Instance, tables: &str) -> (ProbeResults, Exit) {
    let text = format!(
        "[upstreams.main]\nurl = 'http://{}'\nrole = 'main'\n[upstreams.replica1]\nurl = 'http://{}'\n{tables}",
        main.address(),
        replica.address()
    );
    let environment = MapEnvironment::new()
        .file("geofront.toml", text)
        .environment_variable("PASSWORD", "geoserver")
        .environment_variable("WRONG", "wrong");
    let config = Config::load(Path::new("geofront.toml"), &environment)
        .unwrap()
        .config;
    let (mut results, exit) = report(config).unwrap();
    for one in &mut results.examined {
        one.found.health.took = Duration::ZERO;
        // Headers have whole seconds, so a second is within the error of the measurement.
        one.found.clock_skew = one
            .found
            .clock_skew
            .filter(|skew| skew.abs() > 1)
            .or(Some(0));
    }
    (results, exit)
}

const CREDENTIALS: &str = "[geoserver]\nusername = 'admin'\npassword_env = 'PASSWORD'\n";

/// A main and a replica on one data directory; the replica behaves in this way.
fn cluster(replica: Behaviour) -> (Instance, Instance) {
    let data = DataDirectory::new();
    (
        Instance::start("main", &data, Behaviour::default()),
        Instance::start("replica1", &data, replica),
    )
}

/// The findings with credentials, as `severity kind upstreams`.
fn kinds(main: &Instance, replica: &Instance) -> Vec<String> {
    let (results, exit) = examined(main, replica, CREDENTIALS);
    let kinds: Vec<String> = results
        .findings
        .iter()
        .map(|one| format!("{} {} {}", one.severity, one.kind, one.upstreams.join(",")))
        .collect();
    let has_problem = kinds.iter().any(|kind| kind.starts_with("problem"));
    assert_eq!(exit == Exit::Failure, has_problem, "{kinds:?}");
    kinds
}

#[test]
fn a_sound_cluster_has_no_findings() {
    let (main, replica) = cluster(Behaviour::default());
    let (results, exit) = examined(&main, &replica, CREDENTIALS);
    insta::assert_snapshot!(text(&results), @r"
    UPSTREAM  TOOK  ANSWERED  SEQUENCE  VERSION  CLOCK  KEEP-ALIVE  CREDENTIALS
    main      0 ms  well             0  2.27.1    +0 s        20 s  accepted
    replica1  0 ms  well             0  2.27.1    +0 s        20 s  accepted
    ");
    assert_eq!(exit, Exit::Success);
}

#[test]
fn without_credentials_the_comparisons_left_out_are_noted() {
    let (main, replica) = cluster(Behaviour::default());
    let (results, exit) = examined(&main, &replica, "");
    let [note] = results.findings.as_slice() else {
        panic!("{:?}", results.findings);
    };
    assert_eq!((note.kind, exit), ("unread", Exit::Success));
}

#[test]
fn credentials_that_geoserver_refuses_fail_the_check() {
    let (main, replica) = cluster(Behaviour::default());
    let tables = CREDENTIALS.replace("PASSWORD", "WRONG");
    let (results, exit) = examined(&main, &replica, &tables);
    let text = text(&results);
    let refused =
        "it does not accept the credentials of [geoserver]: credentials refused: status 401";
    assert!(exit == Exit::Failure && text.contains(refused), "{text}");
}

#[test]
fn an_upstream_whose_rest_interface_fails_is_not_reported_as_refusing_credentials() {
    let (main, replica) = cluster(Behaviour::default());
    replica.suffers(Fault::Status(500));
    let (results, exit) = examined(&main, &replica, CREDENTIALS);
    let text = text(&results);
    let rest = "problem: replica1: its REST interface does not answer well: status 500";
    assert!(exit == Exit::Failure && text.contains(rest), "{text}");
    assert!(!text.contains("does not accept the credentials"), "{text}");
}

#[test]
fn a_main_without_an_update_sequence_is_noted() {
    let (main, replica) = cluster(Behaviour::default());
    main.control().hide_number(true);
    assert_eq!(kinds(&main, &replica), ["note update-sequence main"]);
}

#[test]
fn an_upstream_that_does_not_answer_is_a_problem_with_a_way_to_try_it() {
    let (main, replica) = cluster(Behaviour::default());
    replica.suffers(Fault::Refuse);
    let (results, exit) = examined(&main, &replica, CREDENTIALS);
    let text = text(&results);
    assert_eq!(exit, Exit::Failure);
    let help = format!("curl -sI http://{}/geoserver/index.html", replica.address());
    assert!(
        text.contains("problem: replica1: ") && text.contains(&help),
        "{text}"
    );
}

#[test]
fn another_version_is_a_problem() {
    let (main, replica) = cluster(Behaviour {
        version: "2.26.2",
        ..Behaviour::default()
    });
    assert_eq!(kinds(&main, &replica), ["problem versions main,replica1"]);
    let (results, _) = examined(&main, &replica, CREDENTIALS);
    let versions = "GeoServer's versions differ: 2.26.2 on replica1; 2.27.1 on main";
    assert_eq!(results.findings[0].what, versions);
}

#[test]
fn a_replica_on_another_data_directory_is_a_problem() {
    let main = Instance::start("main", &DataDirectory::new(), Behaviour::default());
    let replica = Instance::start("replica1", &DataDirectory::new(), Behaviour::default());
    main.publish("urban:new");
    assert_eq!(kinds(&main, &replica), ["problem data-directory replica1"]);
}

#[test]
fn a_replica_on_a_copy_of_the_data_directory_is_a_problem() {
    let (data, copy) = (DataDirectory::new(), DataDirectory::new());
    copy.date(data.changed_at() - Duration::from_secs(90));
    let main = Instance::start("main", &data, Behaviour::default());
    let replica = Instance::start("replica1", &copy, Behaviour::default());
    let (results, _) = examined(&main, &replica, CREDENTIALS);
    let [copy] = results.findings.as_slice() else {
        panic!("{:?}", results.findings);
    };
    assert!(
        copy.kind == "data-directory" && copy.what.contains("it is a copy"),
        "{copy:?}"
    );
}

#[test]
fn a_replica_that_lacks_a_change_is_noted_and_one_that_counted_up_is_not() {
    let (main, replica) = cluster(Behaviour::default());
    main.publish("urban:new");
    assert_eq!(kinds(&main, &replica), ["note stale replica1"]);
}

#[test]
fn modules_that_only_some_have_are_a_problem() {
    let (main, replica) = cluster(Behaviour {
        extensions: &["gs-wps"],
        ..Behaviour::default()
    });
    let (results, _) = examined(&main, &replica, CREDENTIALS);
    let [lacking] = results.findings.as_slice() else {
        panic!("{:?}", results.findings);
    };
    assert_eq!(
        (lacking.upstreams.as_slice(), lacking.what.as_str()),
        (
            &["replica1".to_owned()][..],
            "it lacks modules that others have: gs-csw, gs-importer-rest"
        )
    );
}

#[test]
fn control_flow_is_noted_where_it_is() {
    let with = || Behaviour {
        control_flow: Some(ControlFlow { timeout: None }),
        ..Behaviour::default()
    };
    let data = DataDirectory::new();
    let main = Instance::start("main", &data, with());
    let replica = Instance::start("replica1", &data, with());
    assert_eq!(kinds(&main, &replica), ["note control-flow main,replica1"]);
}

#[test]
fn java_8_without_marlin_is_noted_and_with_it_is_not() {
    for (java, expected) in [
        (
            ("1.8.0_392", "PLATFORM DEFAULT"),
            &["note renderer replica1"][..],
        ),
        (
            ("1.8.0_392", "org.marlin.pisces.MarlinRenderingEngine"),
            &[][..],
        ),
        (
            ("17.0.9", "sun.java2d.pisces.PiscesRenderingEngine"),
            &["note renderer replica1"][..],
        ),
    ] {
        let (main, replica) = cluster(Behaviour {
            java,
            ..Behaviour::default()
        });
        assert_eq!(kinds(&main, &replica), expected, "{java:?}");
    }
}

#[test]
fn a_clock_that_is_off_is_noted() {
    for (clock_skew, side) in [(90, "ahead of"), (-90, "behind")] {
        let (main, replica) = cluster(Behaviour {
            clock_skew,
            ..Behaviour::default()
        });
        let (results, exit) = examined(&main, &replica, CREDENTIALS);
        let [clock] = results.findings.as_slice() else {
            panic!("{:?}", results.findings);
        };
        assert!(
            clock.kind == "clock" && clock.what.contains(side),
            "{clock:?}"
        );
        assert_eq!(exit, Exit::Success);
    }
}

#[test]
fn connections_that_the_upstream_closes_too_early_are_a_problem() {
    let (main, replica) = cluster(Behaviour {
        keep_alive: Duration::from_secs(10),
        ..Behaviour::default()
    });
    assert_eq!(kinds(&main, &replica), ["problem keep-alive replica1"]);
    let (main, replica) = cluster(Behaviour {
        keep_alive_requests: Some(1),
        ..Behaviour::default()
    });
    assert_eq!(kinds(&main, &replica), ["note keep-alive replica1"]);
}

#[test]
fn a_high_limit_is_noted_with_the_threads_that_it_needs() {
    let (main, replica) = cluster(Behaviour::default());
    let tables = format!("{CREDENTIALS}[limits]\nmax_in_flight = 40\n");
    let (results, _) = examined(&main, &replica, &tables);
    let [threads] = results.findings.as_slice() else {
        panic!("{:?}", results.findings);
    };
    assert!(
        threads.kind == "threads" && threads.help.contains("at least 50"),
        "{threads:?}"
    );
}

#[test]
fn the_json_has_every_fact_and_finding() {
    let (main, replica) = cluster(Behaviour {
        version: "2.26.2",
        ..Behaviour::default()
    });
    let (results, _) = examined(&main, &replica, CREDENTIALS);
    let page: Value = serde_json::from_str(&json(&results).unwrap()).unwrap();
    let upstream = &page["upstreams"][1];
    assert_eq!(upstream["version"], "2.26.2");
    assert_eq!(upstream["keep_alive_seconds"], 20);
    assert_eq!(upstream["global_xml"]["update_sequence"], 0);
    assert_eq!(page["findings"][0]["severity"], "problem");
    assert_eq!(page["findings"][0]["kind"], "versions");
}
