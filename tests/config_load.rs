//! The result of loading configurations: the smallest valid one, includes, secrets, and the origin
//! of each value.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use geofront::config::{Config, Credentials, Loaded, MainReads, MapEnvironment, Role, ServedBy};
use geofront::ogc::RequestClass;

const SMALLEST: &str = r#"
[upstreams.main]
url = "http://127.0.0.1:8180"
role = "main"
[upstreams.slave1]
url = "http://10.0.0.11:8080"
"#;

fn world(text: &str) -> MapEnvironment {
    MapEnvironment::new().file("/etc/geofront/geofront.toml", text)
}

fn load(world: &MapEnvironment) -> Loaded {
    Config::load(Path::new("/etc/geofront/geofront.toml"), world)
        .unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

fn refusal(world: &MapEnvironment) -> String {
    Config::load(Path::new("/etc/geofront/geofront.toml"), world)
        .expect_err("refused")
        .to_string()
}

fn origin(loaded: &Loaded, key: &str) -> (String, String) {
    let entry = loaded
        .effective
        .iter()
        .find(|entry| entry.key == key)
        .expect(key);
    (entry.value.clone(), entry.origin.clone())
}

#[test]
fn the_smallest_file_is_a_main_and_a_replica() {
    let config = load(&world(SMALLEST)).config;
    let [main, slave] = &config.upstreams[..] else {
        panic!("{:?}", config.upstreams)
    };
    assert_eq!(
        (main.role, main.reads, main.address.known()),
        (
            Role::Main,
            MainReads::Backup,
            Some(SocketAddr::from(([127, 0, 0, 1], 8180)))
        )
    );
    assert_eq!(
        (slave.role, slave.weight.get(), slave.url.as_str()),
        (Role::Replica, 100, "http://10.0.0.11:8080")
    );
    assert_eq!(config.listen, [SocketAddr::from(([0, 0, 0, 0], 8080))]);
    assert!(config.admin.ip().is_loopback());
    assert_eq!(config.geoserver.context, "/geoserver");
    assert_eq!(
        config.classes[RequestClass::Feature].first_byte,
        Duration::from_secs(1200)
    );
    assert_eq!(
        config.classes[RequestClass::Process].served_by,
        ServedBy::Main
    );
}

#[test]
fn upstreams_keep_the_order_of_the_file() {
    let text =
        format!("{SMALLEST}[upstreams.b]\nurl = \"http://b\"\n[upstreams.a]\nurl = \"http://a\"\n");
    let world = world(&text)
        .host("a", [10, 0, 0, 1].into())
        .host("b", [10, 0, 0, 2].into());
    let names: Vec<_> = load(&world)
        .config
        .upstreams
        .iter()
        .map(|upstream| upstream.name.to_string())
        .collect();
    assert_eq!(names, ["main", "slave1", "b", "a"]);
}

#[test]
fn included_files_bring_tables_and_are_listed_as_read() {
    let world = world(&format!("include = [\"conf.d/*.toml\"]\n{SMALLEST}"))
        .file(
            "/etc/geofront/conf.d/slave2.toml",
            "[upstreams.slave2]\nurl = \"http://10.0.0.12:8080\"\n",
        )
        .file("/etc/geofront/conf.d/slave3.toml~", "nonsense");
    let loaded = load(&world);
    assert_eq!(loaded.config.upstreams.len(), 3);
    assert_eq!(
        loaded.files,
        [
            Path::new("/etc/geofront/geofront.toml"),
            Path::new("/etc/geofront/conf.d/slave2.toml")
        ]
    );
    let url = (
        "http://10.0.0.12:8080".to_owned(),
        "/etc/geofront/conf.d/slave2.toml:2".to_owned(),
    );
    assert_eq!(origin(&loaded, "upstreams.slave2.url"), url);
}

#[test]
fn an_include_that_finds_nothing_is_empty_only_with_a_wildcard() {
    let folder = world("").file("/etc/geofront/conf.d/readme", "");
    load(&folder.clone().file(
        "/etc/geofront/geofront.toml",
        format!("include = \"conf.d/*.toml\"\n{SMALLEST}"),
    ));
    let told = refusal(&folder.file(
        "/etc/geofront/geofront.toml",
        format!("include = \"conf.d/slave.toml\"\n{SMALLEST}"),
    ));
    assert!(
        told.contains("cannot read /etc/geofront/conf.d/slave.toml"),
        "{told}"
    );
}

#[test]
fn a_password_comes_from_a_file_beside_the_configuration_or_from_the_environment() {
    let credentials = |key: &str| format!("{SMALLEST}[geoserver]\nusername = \"admin\"\n{key}\n");
    let from_file = world(&credentials("password_file = \"password\""))
        .file("/etc/geofront/password", "s3cret\n");
    let from_environment = world(&credentials("password_env = \"GS_PASSWORD\""))
        .environment_variable("GS_PASSWORD", "s3cret");
    for world in [from_file, from_environment] {
        let loaded = load(&world);
        let Credentials::Basic { username, password } = &loaded.config.geoserver.credentials else {
            panic!()
        };
        assert_eq!((username.as_str(), password.expose()), ("admin", "s3cret"));
        assert!(
            !format!("{loaded:?}").contains("s3cret"),
            "a password shows"
        );
    }
}

#[test]
fn a_change_of_the_password_file_is_a_change_to_watch_for() {
    let text =
        format!("{SMALLEST}[geoserver]\nusername = \"admin\"\npassword_file = \"password\"\n");
    let loaded = load(&world(&text).file("/etc/geofront/password", "s3cret"));
    assert!(
        loaded.files.contains(&"/etc/geofront/password".into()),
        "{:?}",
        loaded.files
    );
}

#[test]
fn every_value_has_its_source() {
    let loaded = load(&world(&format!("threads = 3\n{SMALLEST}weight = 50\n")));
    assert_eq!(
        origin(&loaded, "threads"),
        ("3".to_owned(), "/etc/geofront/geofront.toml:1".to_owned())
    );
    assert_eq!(
        origin(&loaded, "upstreams.slave1.weight"),
        ("50".to_owned(), "/etc/geofront/geofront.toml:8".to_owned())
    );
    assert_eq!(
        origin(&loaded, "health.interval"),
        ("5s".to_owned(), "default".to_owned())
    );
    assert_eq!(origin(&loaded, "classes.admin.max_body").0, "10GB");
}

#[test]
fn header_values_show_nowhere() {
    let text = format!(
        "{SMALLEST}[geoserver]\nheaders = {{ sec-username = \"hunter2\", Sec-Roles = \"ROLE_X\" }}\n"
    );
    let loaded = load(&world(&text));
    assert_eq!(
        origin(&loaded, "geoserver.headers").0,
        "sec-username = ***, Sec-Roles = ***"
    );
    assert!(!format!("{loaded:?}").contains("hunter2"), "a header shows");
    let broken = [
        text.replace("hunter2", "hunter2\" \""),
        text.replace("Sec-Roles", "a b"),
        text.replace("headers", "header"),
        text.replace("headers = {", "headers = [").replace('}', "]"),
        text.replace("headers = { sec-username", "password"),
    ];
    for text in broken {
        let told = refusal(&world(&text));
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[test]
fn a_trusted_proxy_is_one_address_or_a_network() {
    let config = load(&world(&format!(
        "trusted_proxies = [\"10.0.0.5\", \"192.168.0.0/16\", \"fd00::/8\"]\n{SMALLEST}"
    )))
    .config;
    for (peer, trusted) in [
        ("10.0.0.5", true),
        ("10.0.0.6", false),
        ("192.168.7.1", true),
        ("::ffff:10.0.0.5", true),
        ("fd00::1", true),
    ] {
        assert_eq!(
            config.trust.allows_origin(peer.parse().unwrap()),
            trusted,
            "{peer}"
        );
    }
}

#[test]
fn a_process_may_be_served_by_one_named_upstream() {
    let config = load(&world(&format!(
        "{SMALLEST}[classes.process]\nserved_by = \"slave1\"\n"
    )))
    .config;
    assert!(
        matches!(&config.classes[RequestClass::Process].served_by, ServedBy::Upstream(name) if name.as_str() == "slave1")
    );
}
