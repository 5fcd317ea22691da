//! A front file and the files of its clusters: each cluster has an ordinary configuration.

use std::path::Path;
use std::time::Duration;

use geofront::config::{Config, Diagnostics, Loaded, MapEnvironment, shared_upstreams};

const FRONT: &str = "listen = \"0.0.0.0:80\"\ntrusted_proxies = \"10.0.0.5\"\n[timeouts]\nclient_header = \"7s\"\n\
    [limits]\nhead_fields = 77\n[log]\nlevel = \"debug\"\n\
    [clusters.city]\nfile = \"city/main.toml\"\nhosts = \"city.example.org\"\n\
    [clusters.region]\nfile = \"region.toml\"\npath = \"/region/geoserver\"\n";

const UPSTREAMS: &str = "[upstreams.main]\nurl = \"http://10.0.0.1\"\nrole = \"main\"\n\
    [upstreams.a]\nurl = \"http://10.0.0.2\"\n";

fn world(front: &str, city: &str, region: &str) -> MapEnvironment {
    MapEnvironment::new()
        .file("/etc/front.toml", front)
        .file("/etc/city/main.toml", city)
        .file("/etc/region.toml", region)
        .file("/etc/city/more.toml", "[limits]\nqueue = 9\n")
        .file("/etc/more.toml", "[shutdown]\ntimeout = \"9s\"\n")
}

fn load(world: &MapEnvironment, cluster: Option<&str>) -> Result<Loaded, Diagnostics> {
    Config::load_over(Path::new("/etc/front.toml"), cluster, world, None)
}

#[track_caller]
fn config(world: &MapEnvironment, cluster: Option<&str>) -> Config {
    load(world, cluster)
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config
}

/// Every problem as `file:line:column message`.
fn problems(world: &MapEnvironment, cluster: Option<&str>) -> Vec<String> {
    let Err(diagnostics) = load(world, cluster) else {
        return Vec::new();
    };
    let findings = diagnostics.findings().map(|finding| match finding.place {
        Some(place) => format!(
            "{}:{}:{} {}",
            place.file.display(),
            place.line,
            place.column,
            finding.message
        ),
        None => finding.message,
    });
    findings.collect()
}

#[test]
fn a_cluster_has_its_own_file_and_the_shared_keys_of_the_front_file() {
    let city = format!(
        "public_url = \"https://city.example.org\"\n{UPSTREAMS}[limits]\nqueue = 5\n[timeouts]\nconnect = \"3s\"\n"
    );
    let world = world(FRONT, &city, UPSTREAMS);
    let (front, city) = (config(&world, None), config(&world, Some("city")));
    assert_eq!(front.clusters.names(), "city, region");
    assert!(front.upstreams.is_empty() && front.cluster.is_none());
    assert_eq!(
        front.clusters.entries()[0].file,
        Path::new("/etc/city/main.toml")
    );
    assert_eq!(front.limits.head_fields, 77);

    assert_eq!(
        city.cluster.as_ref().map(|name| name.as_str()),
        Some("city")
    );
    assert_eq!(city.upstreams.len(), 2);
    assert_eq!((city.limits.queue, city.limits.head_fields), (5, 77));
    assert_eq!(city.timeouts.client_header, Duration::from_secs(7));
    assert_eq!(city.timeouts.connect, Duration::from_secs(3));
    assert_eq!(city.trust.proxies, front.trust.proxies);
    assert!(city.trust.public_url.is_some() && city.geoserver.public_path.is_none());
    assert!(city.clusters.is_empty());

    let region = config(&world, Some("region"));
    let path = region.geoserver.public_path.map(|path| path.to_string());
    assert_eq!(path.as_deref(), Some("/region/geoserver"));
}

#[test]
fn the_path_of_the_front_file_may_be_the_context_or_that_of_the_cluster_and_no_other() {
    let region = |geoserver: &str| {
        let region = format!("{UPSTREAMS}[geoserver]\n{geoserver}\n");
        world(FRONT, UPSTREAMS, &region)
    };
    let own = region("context = \"/region/geoserver\"");
    assert!(config(&own, Some("region")).geoserver.public_path.is_none());
    let same = region("public_path = \"/region/geoserver\"");
    assert!(
        config(&same, Some("region"))
            .geoserver
            .public_path
            .is_some()
    );
    let other = region("public_path = \"/other\"");
    assert_eq!(
        problems(&other, Some("region")),
        [
            "/etc/region.toml:7:15 `geoserver.public_path` is \"/other\", and `clusters.region.path` is \"/region/geoserver\""
        ]
    );
}

#[test]
fn keys_in_the_wrong_file_are_named_with_their_place() {
    let city = format!(
        "listen = \"0.0.0.0:80\"\n{UPSTREAMS}[limits]\nhead_size = \"8KiB\"\n[listeners.x]\naddress = \"0.0.0.0:81\"\n\
         [clusters.inner]\nfile = \"inner.toml\"\npath = \"/x\"\n[log]\nlevel = \"info\"\n"
    );
    let found = problems(&world(FRONT, &city, UPSTREAMS), Some("city"));
    let stands = |place: &str, key: &str| {
        format!("/etc/city/main.toml:{place} `{key}` stands in the file of cluster `city`")
    };
    assert_eq!(
        found,
        [
            stands("1:10", "listen"),
            stands("8:13", "limits.head_size"),
            stands("9:12", "listeners.x"),
            stands("11:11", "clusters.inner"),
            stands("15:9", "log.level"),
        ]
    );
    let front = format!("{FRONT}[health]\nrise = 2\n");
    assert_eq!(
        problems(&world(&front, UPSTREAMS, UPSTREAMS), None),
        ["/etc/front.toml:16:8 `health.rise` stands beside [clusters.NAME]"]
    );
}

#[test]
fn what_is_missing_in_the_file_of_a_cluster_is_reported_there() {
    let empty = world(FRONT, "", UPSTREAMS);
    assert_eq!(
        problems(&empty, Some("city")),
        ["/etc/city/main.toml:1:1 no upstream is the main"]
    );
    let gone = FRONT.replace("city/main.toml", "gone.toml");
    let found = problems(&world(&gone, UPSTREAMS, UPSTREAMS), Some("city"));
    assert!(
        found[0].starts_with("/etc/front.toml:10:8 cannot read /etc/gone.toml"),
        "{found:?}"
    );
    let found = problems(&world(FRONT, UPSTREAMS, UPSTREAMS), Some("moon"));
    assert_eq!(found, ["/etc/front.toml:1:1 there is no [clusters.moon]"]);
}

#[test]
fn an_upstream_that_is_the_front_door_itself_is_refused() {
    let city = |url: &str| UPSTREAMS.replace("http://10.0.0.2", url);
    let own = problems(
        &world(FRONT, &city("http://127.0.0.1:80"), UPSTREAMS),
        Some("city"),
    );
    assert_eq!(
        own,
        [
            "/etc/city/main.toml:5:7 upstream `a` is 127.0.0.1:80, and `listen` is 0.0.0.0:80: requests would come back"
        ]
    );
    // The default of `listen`, which the front file replaces.
    let other = world(FRONT, &city("http://127.0.0.1:8080"), UPSTREAMS);
    config(&other, Some("city"));
    let listener = FRONT.replace("listen = \"0.0.0.0:80\"\n", "")
        + "[listeners.x]\naddress = \"127.0.0.1:81\"\n";
    let own = problems(
        &world(&listener, &city("http://127.0.0.1:81"), UPSTREAMS),
        Some("city"),
    );
    assert!(own[0].contains("listener `x` is 127.0.0.1:81"), "{own:?}");
}

#[test]
fn every_file_may_include_others_beside_it() {
    let front = format!("include = \"more.toml\"\n{FRONT}");
    let city = format!("include = \"more.toml\"\n{UPSTREAMS}");
    let world = world(&front, &city, UPSTREAMS);
    assert_eq!(
        config(&world, None).shutdown.timeout,
        Duration::from_secs(9)
    );
    assert_eq!(config(&world, Some("city")).limits.queue, 9);
    assert_ne!(config(&world, Some("region")).limits.queue, 9);
}

#[test]
fn each_cluster_has_a_state_file_of_its_own() {
    let state = |world: &MapEnvironment, name: &str| config(world, Some(name)).catalog.state_file;
    let world = world(FRONT, UPSTREAMS, UPSTREAMS)
        .environment_variable("STATE_DIRECTORY", "/var/lib/geofront");
    let path = |name: &str| Some(Path::new("/var/lib/geofront").join(name));
    assert_eq!(state(&world, "city"), path("catalog-city.json"));
    assert_eq!(state(&world, "region"), path("catalog-region.json"));
}

#[test]
fn clusters_with_one_state_file_are_refused_and_those_with_one_geoserver_are_noted() {
    let own = |file: &str, upstream: &str| {
        format!(
            "[upstreams.main]\nurl = \"http://10.0.0.1\"\nrole = \"main\"\n[upstreams.a]\nurl = \"{upstream}\"\n\
             [catalog]\nstate_file = \"{file}\"\n"
        )
    };
    let pair = |city: &str, region: &str| {
        let world = world(
            FRONT,
            &own(city, "http://10.0.0.2"),
            &own(region, "http://10.0.0.3"),
        );
        ["city", "region"].map(|name| load(&world, Some(name)).expect("the files are right"))
    };
    let refused = Loaded::check_side_by_side(&pair("/state", "/state")).unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("clusters `city` (/etc/city/main.toml:7) and `region` (/etc/region.toml:7) both have the `catalog.state_file` /state"),
        "{text}"
    );
    let [city, region] = pair("/a", "/b");
    Loaded::check_side_by_side([&city, &region]).expect("each has its own");
    let notes = shared_upstreams(&[&city.config, &region.config]);
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].starts_with(
        "`main` of cluster `city` and `main` of cluster `region` are both 10.0.0.1:80"
    ));
    let mut elsewhere = region.config.clone();
    elsewhere.geoserver.context = "/other".to_owned();
    let notes = shared_upstreams(&[&city.config, &elsewhere]);
    assert_eq!(notes, [""; 0], "another GeoServer in the same Tomcat");
}
