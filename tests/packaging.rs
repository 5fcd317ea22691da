//! Tests of the files in `packaging/` for Debian, Kubernetes and containers.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use geofront::config::{Config, MapEnvironment};
use yaml_rust2::{Yaml, YamlLoader};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The documents of a manifest, each with its kind.
fn documents(path: &str) -> Vec<(String, Yaml)> {
    let documents = YamlLoader::load_from_str(&read(path)).expect("the manifest is YAML");
    let kind = |document: &Yaml| document["kind"].as_str().expect("a kind").to_owned();
    documents
        .into_iter()
        .map(|document| (kind(&document), document))
        .collect()
}

fn document(wanted: &str) -> Yaml {
    let found = documents("packaging/kubernetes/geofront.yaml");
    let found = found.into_iter().find(|(kind, _)| kind == wanted);
    found.unwrap_or_else(|| panic!("no {wanted}")).1
}

fn container(deployment: &Yaml) -> &Yaml {
    &deployment["spec"]["template"]["spec"]["containers"][0]
}

#[test]
fn manifests_hold_one_document_of_each_kind_with_the_same_name() {
    let mut all = documents("packaging/kubernetes/geofront.yaml");
    all.extend(documents("packaging/kubernetes/servicemonitor.yaml"));
    let kinds: Vec<&str> = all.iter().map(|(kind, _)| kind.as_str()).collect();
    let expected = [
        "ConfigMap",
        "Secret",
        "Deployment",
        "Service",
        "PodDisruptionBudget",
        "ServiceMonitor",
    ];
    assert_eq!(kinds, expected);
    for (kind, document) in &all {
        assert_eq!(
            document["metadata"]["name"].as_str(),
            Some("geofront"),
            "{kind}"
        );
        assert!(document["apiVersion"].as_str().is_some(), "{kind}");
    }
}

#[test]
fn the_configuration_in_the_manifest_is_accepted_and_its_files_are_mounted() {
    let config = document("ConfigMap");
    let config = config["data"]["geofront.toml"]
        .as_str()
        .expect("a configuration");
    let deployment = document("Deployment");
    let secret = document("Secret");
    let mounts: Vec<&str> = container(&deployment)["volumeMounts"]
        .as_vec()
        .expect("volumes")
        .iter()
        .filter_map(|mount| mount["mountPath"].as_str())
        .collect();
    let mut world = MapEnvironment::new().file("geofront.toml", config);
    for line in config.lines().filter(|line| line.contains("_file = ")) {
        let path = line.split('"').nth(1).expect("a path in quotes");
        let (folder, name) = path.rsplit_once('/').expect("an absolute path");
        assert!(mounts.contains(&folder), "nothing is mounted at {folder}");
        if folder.ends_with("/secrets") {
            let value = secret["stringData"][name].as_str();
            world = world.file(path, value.unwrap_or_else(|| panic!("no secret {name}")));
        }
    }
    if let Err(problems) = Config::load(Path::new("geofront.toml"), &world) {
        panic!("{problems}");
    }
}

#[test]
fn probes_and_services_reach_the_ports_that_the_configuration_opens() {
    let config = document("ConfigMap");
    let config = config["data"]["geofront.toml"]
        .as_str()
        .expect("a configuration");
    let deployment = document("Deployment");
    let container = container(&deployment);
    for port in container["ports"].as_vec().expect("ports") {
        let number = port["containerPort"].as_i64().expect("a port");
        assert!(
            config.contains(&format!("\"0.0.0.0:{number}\"")),
            "{number} in {config}"
        );
    }
    for (probe, path) in [("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")] {
        let request = &container[probe]["httpGet"];
        assert_eq!(request["path"].as_str(), Some(path));
        assert_eq!(request["port"].as_str(), Some("admin"));
    }
    let service = document("Service");
    let selected = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&service["spec"]["selector"], selected);
}

#[test]
fn the_container_runs_without_root_on_a_root_file_system_that_it_cannot_write() {
    let deployment = document("Deployment");
    let pod = &deployment["spec"]["template"]["spec"]["securityContext"];
    assert_eq!(pod["runAsNonRoot"].as_bool(), Some(true));
    assert!(pod["runAsUser"].as_i64().is_some_and(|user| user > 0));
    let context = &container(&deployment)["securityContext"];
    assert_eq!(context["readOnlyRootFilesystem"].as_bool(), Some(true));
    assert_eq!(context["allowPrivilegeEscalation"].as_bool(), Some(false));
    assert_eq!(context["capabilities"]["drop"][0].as_str(), Some("ALL"));
}

/// Every value of `values.yaml` that is no table, by its path; a table without keys is a value.
fn leaves(value: &Yaml, path: &str, found: &mut BTreeSet<String>) {
    match value.as_hash() {
        Some(table) if !table.is_empty() && !OPEN_TABLES.contains(&path) => {
            for (key, value) in table {
                let key = key.as_str().expect("a name");
                let path = if path.is_empty() {
                    key.to_owned()
                } else {
                    format!("{path}.{key}")
                };
                leaves(value, &path, found);
            }
        }
        _ => {
            found.insert(path.to_owned());
        }
    }
}

/// Values that a template passes on as a whole.
const OPEN_TABLES: &[&str] = &["secrets", "resources"];

#[test]
fn the_chart_uses_every_value_and_no_other() {
    let values = YamlLoader::load_from_str(&read("packaging/helm/geofront/values.yaml"));
    let mut declared = BTreeSet::new();
    leaves(&values.expect("YAML")[0], "", &mut declared);
    let folder = root().join("packaging/helm/geofront/templates");
    let mut used = BTreeSet::new();
    for template in fs::read_dir(folder).expect("the templates") {
        let text = fs::read_to_string(template.expect("a file").path()).expect("text");
        for rest in text.split(".Values.").skip(1) {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '.';
            let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            used.insert(rest[..end].to_owned());
        }
    }
    assert_eq!(used, declared);
}

#[test]
fn the_chart_has_the_version_and_the_configuration_of_the_manifests() {
    let chart = read("packaging/helm/geofront/Chart.yaml");
    for key in ["version", "appVersion"] {
        let line = format!("\n{key}: {}\n", env!("CARGO_PKG_VERSION"));
        assert!(chart.contains(&line), "{chart}");
    }
    let values = YamlLoader::load_from_str(&read("packaging/helm/geofront/values.yaml"));
    let values = &values.expect("YAML")[0];
    assert_eq!(
        values["config"],
        document("ConfigMap")["data"]["geofront.toml"]
    );
    assert_eq!(values["secrets"], document("Secret")["stringData"]);
}

#[test]
fn the_container_image_copies_files_that_exist_and_starts_as_another_user_than_root() {
    let text = read("packaging/Containerfile");
    let copies = text.lines().filter_map(|line| line.strip_prefix("COPY "));
    for copy in copies {
        let words: Vec<&str> = copy
            .split(' ')
            .filter(|word| !word.starts_with("--"))
            .collect();
        let (_, sources) = words.split_last().expect("a target");
        for source in sources
            .iter()
            .filter(|source| !source.starts_with("target/"))
        {
            assert!(root().join(source).exists(), "{source} does not exist");
        }
    }
    assert!(text.contains("\nUSER 10001:10001\n"), "{text}");
    assert!(
        text.contains("\nENV STATE_DIRECTORY=/var/lib/geofront\n"),
        "{text}"
    );
    assert!(text.contains("\nHEALTHCHECK "), "{text}");
    assert!(text.contains(" status --json"), "{text}");
}

/// The paths of a package that was packed from the binary under test.
fn packed() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder for the package");
    let output = Command::new(root().join("scripts/deb.sh"))
        .arg(env!("CARGO_BIN_EXE_geofront"))
        .arg(folder.path())
        .arg("-Znone")
        .output()
        .expect("the script runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let files = fs::read_dir(folder.path()).expect("the folder is there");
    let mut paths = files.filter_map(|entry| Some(entry.ok()?.path()));
    let deb = paths.find(|path| path.extension().is_some_and(|end| end == "deb"));
    (folder, deb.expect("a package"))
}

#[test]
fn the_debian_package_carries_completions_manual_pages_rules_and_the_dashboard() {
    let (_folder, deb) = packed();
    let listed = Command::new("dpkg-deb")
        .arg("-c")
        .arg(deb)
        .output()
        .expect("dpkg-deb runs");
    let listed = String::from_utf8(listed.stdout).expect("paths are text");
    let entries: BTreeSet<(&str, &str)> = listed
        .lines()
        .filter_map(|line| Some((line.split(' ').next()?, line.rsplit_once(" .")?.1)))
        .collect();
    for (mode, path) in [
        ("-rwxr-xr-x", "/usr/bin/geofront"),
        ("-rw-r-----", "/etc/geofront/geofront.toml"),
        ("-rw-r--r--", "/lib/systemd/system/geofront.service"),
        ("-rw-r--r--", "/lib/systemd/system/geofront.socket"),
        (
            "-rw-r--r--",
            "/usr/share/bash-completion/completions/geofront",
        ),
        ("-rw-r--r--", "/usr/share/zsh/vendor-completions/_geofront"),
        (
            "-rw-r--r--",
            "/usr/share/fish/vendor_completions.d/geofront.fish",
        ),
        ("-rw-r--r--", "/usr/share/man/man1/geofront.1.gz"),
        ("-rw-r--r--", "/usr/share/man/man1/geofront-drain.1.gz"),
        (
            "-rw-r--r--",
            "/usr/share/man/man1/geofront-catalog-history.1.gz",
        ),
        ("-rw-r--r--", "/usr/share/man/man5/geofront.toml.5.gz"),
        (
            "-rw-r--r--",
            "/usr/share/geofront/prometheus/geofront.rules.yml",
        ),
        ("-rw-r--r--", "/usr/share/geofront/grafana/geofront.json"),
        ("-rw-r--r--", "/usr/share/geofront/kubernetes/geofront.yaml"),
        (
            "-rw-r--r--",
            "/usr/share/geofront/helm/geofront/templates/deployment.yaml",
        ),
        ("-rw-r--r--", "/usr/share/doc/geofront/docs/monitoring.md"),
    ] {
        assert!(
            entries.contains(&(mode, path)),
            "no {mode} {path} in\n{listed}"
        );
    }
}

#[test]
fn two_packages_of_one_binary_are_equal() {
    let [first, second] = [packed(), packed()];
    let bytes = |deb: &PathBuf| fs::read(deb).expect("the package");
    assert!(bytes(&first.1) == bytes(&second.1));
}

/// The service runs as its own user, and its configuration is readable for root and that user
/// alone.
#[test]
fn the_package_gives_the_configuration_to_the_group_of_the_service() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("geofront.toml");
    fs::write(&config, "").expect("a configuration");
    // Every command that would change this machine is replaced by one that prints what it got.
    let script =
        read("packaging/postinst").replace("/etc/geofront", &folder.path().display().to_string());
    let stubs = "getent() { :; }; chown() { echo chown \"$@\"; }; chgrp() { echo chgrp \"$@\"; }; \
        chmod() { :; }; systemctl() { :; }; stat() { echo $GROUP; }; set -- configure\n";
    let run = |group: &str| {
        let output = Command::new("sh")
            .args(["-c", &format!("{stubs}{script}")])
            .env("GROUP", group)
            .output()
            .expect("the shell runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text")
    };
    let given = format!("chgrp geofront {}\n", config.display());
    assert!(run("root").contains(&given), "{}", run("root"));
    assert!(!run("maps").contains("chgrp"), "{}", run("maps"));
}
