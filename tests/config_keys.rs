//! Every key has an effect, is in the example with its true default, and is in the documentation.

#[path = "config_keys/cases.rs"]
mod cases;
#[path = "config_keys/example.rs"]
mod example;

use std::path::Path;
use std::sync::LazyLock;

use geofront::config::{Change, Config, Diagnostics, Loaded, MapEnvironment, known_keys};
use geofront::ogc::RequestClass;

#[path = "config_keys/acme.rs"]
mod acme;
#[path = "config_keys/clusters.rs"]
mod clusters;
#[path = "config_keys/compression.rs"]
mod compression;
#[path = "config_keys/cors.rs"]
mod cors;
#[path = "config_keys/https.rs"]
mod https;
#[path = "config_keys/routes.rs"]
mod routes;
#[path = "config_keys/traces.rs"]
mod traces;

use cases::{CASES, WITHOUT_DEFAULT, WORDS};
use example::{EXAMPLE, commented_key, header_of, keys_of_example, section_of};

/// The example of a front file.
const CLUSTERS: &str = include_str!("../config/clusters.toml");

const DOCUMENTATION: &str = include_str!("../docs/configuration.md");

/// A certificate and its key.
static PAIR: LazyLock<(String, String)> = LazyLock::new(|| {
    let pair = rcgen::generate_simple_self_signed(["maps.example.org".to_owned()])
        .expect("a key can be made");
    (pair.cert.pem(), pair.signing_key.serialize_pem())
});

fn try_load(text: &str) -> Result<Loaded, Diagnostics> {
    let pair = &*PAIR;
    let world = MapEnvironment::new()
        .file("geofront.toml", text)
        .file("cert", &*pair.0)
        .file("cert-copy", &*pair.0)
        .file("key", &*pair.1)
        .file("key-copy", &*pair.1)
        .file("/etc/geofront/tls/fullchain.pem", &*pair.0)
        .file("/etc/geofront/tls/privkey.pem", &*pair.1)
        .file("/etc/geofront/tls/clients.pem", &*pair.0)
        .file("/etc/geofront/tls/geoservers.pem", &*pair.0)
        .file("/etc/geofront/tls/geofront.pem", &*pair.0)
        .file("/etc/geofront/tls/geofront.key", &*pair.1)
        .file(
            "slave2.toml",
            "[upstreams.slave2]\nurl = \"http://10.0.0.3\"\n",
        )
        .file(
            "conf.d/slave3.toml",
            "[upstreams.slave3]\nurl = \"http://10.0.0.4\"\n",
        )
        .file("secret", "a")
        .file("other", "b")
        .file("/etc/geofront/password", "a")
        .file("/etc/geofront/admin-token", "a")
        .file("/etc/geofront/traces-authorization", "a")
        .file("/etc/geofront/tls/traces.pem", &*pair.0)
        .environment_variable("SECRET", "a")
        .environment_variable("OTHER", "b")
        .environment_variable("GEOFRONT_ADMIN_TOKEN", "a")
        .environment_variable("TRACES_AUTHORIZATION", "a")
        .environment_variable("GEOSERVER_PASSWORD", "a");
    Config::load(Path::new("geofront.toml"), &world)
}

#[track_caller]
fn load(text: &str) -> Loaded {
    try_load(text).unwrap_or_else(|diagnostics| panic!("{text}\n{diagnostics}"))
}

/// A text of [`CASES`], its words replaced.
#[track_caller]
fn load_case(text: &str) -> Loaded {
    load(
        &WORDS.iter().fold(text.to_owned(), |text, (word, meaning)| {
            text.replace(word, meaning)
        }),
    )
}

/// The example with the commented lines of `keys` switched on.
fn example_with(keys: &[&str]) -> String {
    let mut section = String::new();
    let mut lines = Vec::new();
    for line in EXAMPLE.lines() {
        let header = header_of(line);
        if let Some(header) = header {
            section = section_of(header);
        }
        let is_section_wanted = || keys.iter().any(|key| key.starts_with(&section));
        let wanted = line.starts_with('#')
            && (header.is_some() && is_section_wanted()
                || commented_key(line)
                    .is_some_and(|key| keys.contains(&format!("{section}{key}").as_str())));
        lines.push(if wanted { &line[1..] } else { line });
    }
    lines.join("\n")
}

/// `upstreams.slave1.url` -> `upstreams.NAME.url`.
fn general(key: &str) -> String {
    match key.split('.').collect::<Vec<_>>()[..] {
        [
            family @ ("clusters" | "listeners" | "upstreams" | "classes"),
            _,
            key,
        ] => {
            format!("{family}.NAME.{key}")
        }
        ["routes", _, key] => format!("routes.N.{key}"),
        _ => key.to_owned(),
    }
}

#[test]
fn every_key_changes_the_configuration_and_the_change_is_reported() {
    for key in known_keys() {
        let more = https::CASES
            .iter()
            .chain(routes::CASES)
            .chain(acme::CASES)
            .chain(cors::CASES)
            .chain(traces::CASES)
            .chain(compression::CASES)
            .chain(clusters::CASES);
        let mut cases = CASES.iter().chain(more);
        let Some((_, before, after)) = cases.find(|(case, _, _)| *case == key) else {
            panic!("`{key}` has no case: what does it change?");
        };
        let (before, after) = (load_case(before), load_case(after));
        assert_ne!(before.config, after.config, "`{key}` changes nothing");
        let own_name = key.rsplit('.').next().expect("a name has a last part");
        match Change::between(&before, &after) {
            Change::NeedsRestart(keys) => {
                assert_eq!(
                    keys.iter().map(|key| general(&key.key)).collect::<Vec<_>>(),
                    [key]
                );
            }
            Change::Live(told) => assert!(
                told.iter().any(|line| line.contains(own_name)),
                "`{key}`: {told:?}"
            ),
            Change::Unchanged => panic!("`{key}` changes nothing"),
        }
    }
    assert_eq!(
        CASES.len()
            + https::CASES.len()
            + routes::CASES.len()
            + acme::CASES.len()
            + cors::CASES.len()
            + traces::CASES.len()
            + compression::CASES.len()
            + clusters::CASES.len(),
        known_keys().len(),
        "a case for a key that is not there"
    );
}

#[test]
fn the_limits_of_every_class_can_be_set() {
    for class in RequestClass::ALL {
        // A value that is no class's default.
        let priority = if class == RequestClass::Process {
            "2"
        } else {
            "3"
        };
        for (key, value) in [
            ("first_byte", "\"6s\""),
            ("max_body", "\"6MB\""),
            ("priority", priority),
        ] {
            let changed = load_case(&format!("+[classes.{class}]\n{key} = {value}\n"));
            let (before, after) = (load_case("+").config.classes, changed.config.classes);
            let differing: Vec<_> = RequestClass::ALL
                .into_iter()
                .filter(|c| before[*c] != after[*c])
                .collect();
            assert_eq!(differing, [class], "{key}");
        }
    }
}

#[test]
fn the_example_is_a_working_configuration_of_defaults() {
    let example = load(EXAMPLE);
    assert_eq!(example.config.upstreams.len(), 3);
    let upstreams_only: String = EXAMPLE
        .lines()
        .filter(|line| {
            line.starts_with("[upstreams") || line.starts_with("url") || line.starts_with("role")
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    assert_eq!(example.config, load(&upstreams_only).config);
}

#[test]
fn every_key_is_in_the_example() {
    let in_example: Vec<_> = keys_of_example().iter().map(|key| general(key)).collect();
    // A file has clusters or upstreams.
    let in_clusters = load(CLUSTERS).effective.into_iter().map(|entry| entry.key);
    let in_clusters: Vec<_> = in_clusters.map(|key| general(&key)).collect();
    for key in known_keys() {
        let is_of_cluster = key.starts_with("clusters.");
        assert!(
            in_example.contains(&key) || is_of_cluster && in_clusters.contains(&key),
            "config/example.toml does not show `{key}`"
        );
    }
    for class in RequestClass::ALL {
        for key in ["first_byte", "max_body", "priority", "served_by"] {
            assert!(
                keys_of_example().contains(&format!("classes.{class}.{key}")),
                "{class} {key}"
            );
        }
    }
}

#[test]
fn every_default_that_the_example_shows_is_the_true_one() {
    let plain = load(EXAMPLE);
    let has_default = |key: &&String| {
        !WITHOUT_DEFAULT
            .iter()
            .any(|keys| keys.contains(&key.as_str()))
    };
    for key in keys_of_example().iter().filter(has_default) {
        let set = load(&example_with(&[key]));
        assert_eq!(
            set.config, plain.config,
            "`{key}` is shown with something else than its default"
        );
        let entry = set
            .effective
            .iter()
            .find(|entry| entry.key == *key)
            .expect("every key is among the effective ones");
        assert!(
            entry.origin.starts_with("geofront.toml:"),
            "`{key}` was not switched on"
        );
    }
    for keys in WITHOUT_DEFAULT {
        assert_ne!(load(&example_with(keys)).config, plain.config, "{keys:?}");
    }
}

#[test]
fn every_key_is_in_the_documentation() {
    for key in known_keys() {
        assert!(
            DOCUMENTATION.contains(&format!("`{key}`")),
            "docs/configuration.md does not explain `{key}`"
        );
    }
}

#[test]
fn every_key_is_among_the_effective_ones() {
    let (one, several) = (load_case("+TLSRULE"), load(CLUSTERS));
    let effective: Vec<_> = one
        .effective
        .iter()
        .chain(&several.effective)
        .map(|entry| general(&entry.key))
        .collect();
    for key in known_keys() {
        assert!(effective.contains(&key), "`{key}` has no effective value");
    }
}
