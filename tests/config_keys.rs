//! Every key has an effect, is in the example with its true default, and is in the documentation.

#[path = "config_keys/example.rs"]
mod example;

use std::path::Path;
use std::sync::LazyLock;

use geofront::config::{Change, Config, Diagnostics, Loaded, MapEnvironment, known_keys};
use geofront::ogc::RequestClass;

#[path = "config_keys/https.rs"]
mod https;
#[path = "config_keys/routes.rs"]
mod routes;

use example::{EXAMPLE, commented_key, header_of, keys_of_example, section_of};

const DOCUMENTATION: &str = include_str!("../docs/configuration.md");

const SMALLEST: &str = "[upstreams.main]\nurl = \"http://10.0.0.1\"\nrole = \"main\"\n[upstreams.slave1]\nurl = \"http://10.0.0.2\"\n";

/// Every key, and two files that differ in it alone. `+` stands for [`SMALLEST`].
const CASES: &[(&str, &str, &str)] = &[
    ("listen", "+", "listen = \"0.0.0.0:80\"\n+"),
    ("admin", "+", "admin = \"127.0.0.1:9091\"\n+"),
    ("admin_token_file", "+", "admin_token_file = \"secret\"\n+"),
    ("admin_token_env", "+", "admin_token_env = \"SECRET\"\n+"),
    ("include", "+", "include = \"slave2.toml\"\n+"),
    ("trusted_proxies", "+", "trusted_proxies = \"10.0.0.5\"\n+"),
    (
        "trusted_identity",
        "+",
        "trusted_identity = \"10.0.0.5\"\n+",
    ),
    (
        "identity_headers",
        "+",
        "identity_headers = \"X-Remote-User\"\n+",
    ),
    (
        "public_url",
        "+",
        "public_url = \"https://maps.example.org\"\n+",
    ),
    ("threads", "+", "threads = 7\n+"),
    (
        "listeners.NAME.address",
        "+[listeners.a]\naddress = \"0.0.0.0:80\"\n",
        "+[listeners.a]\naddress = \"0.0.0.0:81\"\n",
    ),
    (
        "listeners.NAME.cert",
        "+TLS",
        "+[listeners.a]\naddress = \"0.0.0.0:443\"\ncert = \"cert-copy\"\nkey = \"key\"\n",
    ),
    (
        "listeners.NAME.key",
        "+TLS",
        "+[listeners.a]\naddress = \"0.0.0.0:443\"\ncert = \"cert\"\nkey = \"key-copy\"\n",
    ),
    (
        "listeners.NAME.client_ca",
        "+TLS",
        "+TLSclient_ca = \"cert\"\n",
    ),
    (
        "listeners.NAME.client_certificate",
        "+TLSclient_ca = \"cert\"\n",
        "+TLSclient_ca = \"cert\"\nclient_certificate = \"optional\"\n",
    ),
    ("listeners.NAME.http2", "+TLS", "+TLShttp2 = false\n"),
    ("listeners.NAME.hsts", "+TLS", "+TLShsts = \"1day\"\n"),
    (
        "listeners.NAME.https_redirect",
        "+[listeners.a]\naddress = \"0.0.0.0:80\"\n",
        "+[listeners.a]\naddress = \"0.0.0.0:80\"\nhttps_redirect = 443\n",
    ),
    (
        "listeners.NAME.proxy_protocol_from",
        "+[listeners.a]\naddress = \"0.0.0.0:80\"\n",
        "+[listeners.a]\naddress = \"0.0.0.0:80\"\nproxy_protocol_from = \"10.0.0.5\"\n",
    ),
    (
        "upstreams.NAME.url",
        "+[upstreams.b]\nurl = \"http://10.0.0.3\"\n",
        "+[upstreams.b]\nurl = \"http://10.0.0.4\"\n",
    ),
    (
        "upstreams.NAME.role",
        "FIRST MAIN\nSECOND\n",
        "FIRST\nSECOND MAIN\n",
    ),
    ("upstreams.NAME.weight", "+", "+weight = 50\n"),
    ("upstreams.NAME.max_in_flight", "+", "+max_in_flight = 6\n"),
    (
        "upstreams.NAME.reads",
        "FIRST MAIN\nSECOND\n",
        "FIRST MAIN\nreads = \"never\"\nSECOND\n",
    ),
    ("geoserver.context", "+", "+[geoserver]\ncontext = \"\"\n"),
    (
        "geoserver.username",
        "+ACCOUNT",
        "+[geoserver]\nusername = \"b\"\npassword_file = \"secret\"\n",
    ),
    (
        "geoserver.password_file",
        "+ACCOUNT",
        "+[geoserver]\nusername = \"a\"\npassword_file = \"other\"\n",
    ),
    (
        "geoserver.password_env",
        "+ACCOUNT",
        "+[geoserver]\nusername = \"a\"\npassword_env = \"OTHER\"\n",
    ),
    (
        "geoserver.headers",
        "+",
        "+[geoserver]\nheaders = { sec-username = \"a\" }\n",
    ),
    (
        "geoserver.max_post_size",
        "+",
        "+[geoserver]\nmax_post_size = \"10MB\"\n",
    ),
    ("health.interval", "+", "+[health]\ninterval = \"6s\"\n"),
    ("health.timeout", "+", "+[health]\ntimeout = \"6s\"\n"),
    ("health.rise", "+", "+[health]\nrise = 6\n"),
    ("health.fall", "+", "+[health]\nfall = 6\n"),
    (
        "health.down_interval",
        "+",
        "+[health]\ndown_interval = \"6s\"\n",
    ),
    ("health.slow_start", "+", "+[health]\nslow_start = \"0s\"\n"),
    (
        "health.probe_layer",
        "+",
        "+[health]\nprobe_layer = \"a:b\"\n",
    ),
    (
        "health.authenticate",
        "+",
        "+[health]\nauthenticate = true\n",
    ),
    ("health.ejection", "+", "+[health]\nejection = \"6s\"\n"),
    (
        "health.ejection_max",
        "+",
        "+[health]\nejection_max = \"6m\"\n",
    ),
    (
        "health.ejection_failures",
        "+",
        "+[health]\nejection_failures = 6\n",
    ),
    ("catalog.poll", "+", "+[catalog]\npoll = \"6s\"\n"),
    ("catalog.watch", "+", "+[catalog]\nwatch = \"/data\"\n"),
    ("catalog.settle", "+", "+[catalog]\nsettle = \"6s\"\n"),
    (
        "catalog.settle_max",
        "+",
        "+[catalog]\nsettle_max = \"6s\"\n",
    ),
    (
        "catalog.canary_layer",
        "+",
        "+[catalog]\ncanary_layer = \"a:b\"\n",
    ),
    ("catalog.roll", "+", "+[catalog]\nroll = false\n"),
    ("catalog.roll_share", "+", "+[catalog]\nroll_share = 50\n"),
    (
        "catalog.main_helps",
        "+",
        "+[catalog]\nmain_helps = false\n",
    ),
    ("catalog.parallel", "+", "+[catalog]\nparallel = 2\n"),
    (
        "catalog.drain_timeout",
        "+",
        "+[catalog]\ndrain_timeout = \"6s\"\n",
    ),
    (
        "catalog.reload_timeout",
        "+",
        "+[catalog]\nreload_timeout = \"6s\"\n",
    ),
    (
        "catalog.reload_security",
        "+",
        "+[catalog]\nreload_security = true\n",
    ),
    (
        "catalog.reload_main",
        "+",
        "+[catalog]\nreload_main = true\n",
    ),
    ("catalog.reload_gwc", "+", "+[catalog]\nreload_gwc = true\n"),
    ("catalog.stale", "+", "+[catalog]\nstale = \"avoid\"\n"),
    (
        "catalog.read_your_writes",
        "+",
        "+[catalog]\nread_your_writes = \"0s\"\n",
    ),
    (
        "catalog.state_file",
        "+",
        "+[catalog]\nstate_file = \"/state\"\n",
    ),
    ("timeouts.connect", "+", "+[timeouts]\nconnect = \"6s\"\n"),
    (
        "timeouts.client_header",
        "+",
        "+[timeouts]\nclient_header = \"6s\"\n",
    ),
    (
        "timeouts.client_body",
        "+",
        "+[timeouts]\nclient_body = \"6s\"\n",
    ),
    (
        "timeouts.client_write",
        "+",
        "+[timeouts]\nclient_write = \"6s\"\n",
    ),
    (
        "timeouts.keep_alive",
        "+",
        "+[timeouts]\nkeep_alive = \"6s\"\n",
    ),
    (
        "timeouts.upstream_idle",
        "+",
        "+[timeouts]\nupstream_idle = \"6s\"\n",
    ),
    ("retry.attempts", "+", "+[retry]\nattempts = 6\n"),
    ("retry.window", "+", "+[retry]\nwindow = \"6s\"\n"),
    (
        "retry.budget_percent",
        "+",
        "+[retry]\nbudget_percent = 6\n",
    ),
    (
        "limits.max_in_flight",
        "+",
        "+[limits]\nmax_in_flight = 6\n",
    ),
    ("limits.queue", "+", "+[limits]\nqueue = 6\n"),
    (
        "limits.queue_timeout",
        "+",
        "+[limits]\nqueue_timeout = \"6s\"\n",
    ),
    ("limits.per_user", "+", "+[limits]\nper_user = 6\n"),
    (
        "limits.quick_reserve",
        "+",
        "+[limits]\nquick_reserve = 6\n",
    ),
    ("limits.heavy_share", "+", "+[limits]\nheavy_share = 6\n"),
    ("limits.head_size", "+", "+[limits]\nhead_size = \"6KiB\"\n"),
    ("limits.head_fields", "+", "+[limits]\nhead_fields = 26\n"),
    (
        "limits.control_flow",
        "+",
        "+[limits]\ncontrol_flow = \"ows.wms.getmap=6\"\n",
    ),
    (
        "clients.body_memory",
        "+",
        "+[clients]\nbody_memory = \"6KiB\"\n",
    ),
    (
        "clients.all_body_memory",
        "+",
        "+[clients]\nall_body_memory = \"6GiB\"\n",
    ),
    (
        "clients.min_upload_rate",
        "+",
        "+[clients]\nmin_upload_rate = \"6KiB\"\n",
    ),
    (
        "clients.answer_memory",
        "+",
        "+[clients]\nanswer_memory = \"6KiB\"\n",
    ),
    (
        "clients.all_answer_memory",
        "+",
        "+[clients]\nall_answer_memory = \"6GiB\"\n",
    ),
    (
        "clients.min_download_rate",
        "+",
        "+[clients]\nmin_download_rate = \"6KiB\"\n",
    ),
    (
        "clients.max_per_address",
        "+",
        "+[clients]\nmax_per_address = 6\n",
    ),
    (
        "clients.new_per_second",
        "+",
        "+[clients]\nnew_per_second = 6\n",
    ),
    (
        "clients.heads_per_address",
        "+",
        "+[clients]\nheads_per_address = 6\n",
    ),
    (
        "classes.NAME.priority",
        "+",
        "+[classes.map]\npriority = 0\n",
    ),
    (
        "classes.NAME.first_byte",
        "+",
        "+[classes.map]\nfirst_byte = \"6s\"\n",
    ),
    (
        "classes.NAME.max_body",
        "+",
        "+[classes.map]\nmax_body = \"6MB\"\n",
    ),
    (
        "classes.NAME.served_by",
        "+",
        "+[classes.map]\nserved_by = \"main\"\n",
    ),
    (
        "classes.NAME.affinity",
        "+",
        "+[classes.tile]\naffinity = false\n",
    ),
    (
        "classes.NAME.coalesce",
        "+",
        "+[classes.capabilities]\ncoalesce = \"any-address\"\n",
    ),
    (
        "classes.NAME.affinity_load_percent",
        "+",
        "+[classes.tile]\naffinity_load_percent = 106\n",
    ),
    ("log.format", "+", "+[log]\nformat = \"json\"\n"),
    ("log.access", "+", "+[log]\naccess = \"off\"\n"),
    ("log.level", "+", "+[log]\nlevel = \"debug\"\n"),
    ("shutdown.delay", "+", "+[shutdown]\ndelay = \"6s\"\n"),
    ("shutdown.timeout", "+", "+[shutdown]\ntimeout = \"6s\"\n"),
];

/// The words that [`CASES`] are short for.
const WORDS: &[(&str, &str)] = &[
    ("+", SMALLEST),
    ("RULE", "[[routes]]\nrefuse = true\n"),
    ("GROUP", "[[routes]]\nupstreams = \"slave1\"\n"),
    ("FIRST", "[upstreams.first]\nurl = \"http://10.0.0.1\""),
    ("SECOND", "[upstreams.second]\nurl = \"http://10.0.0.2\""),
    (" MAIN", "\nrole = \"main\""),
    ("HTTPS", "[upstreams.b]\nurl = \"https://10.0.0.3\"\n"),
    (
        "TLS",
        "[listeners.a]\naddress = \"0.0.0.0:443\"\ncert = \"cert\"\nkey = \"key\"\n",
    ),
    (
        "ACCOUNT",
        "[geoserver]\nusername = \"a\"\npassword_file = \"secret\"\n",
    ),
];

/// Keys without a default, for which the example shows an example value. Keys that belong together
/// are on one line.
const WITHOUT_DEFAULT: &[&[&str]] = &[
    &["admin_token_file"],
    &["admin_token_env"],
    &["include"],
    &["trusted_proxies"],
    &["trusted_identity"],
    &["identity_headers"],
    &["public_url"],
    &["threads"],
    &[
        "listeners.public.address",
        "listeners.public.cert",
        "listeners.public.key",
        "listeners.public.client_ca",
        "listeners.public.client_certificate",
        "listeners.public.http2",
        "listeners.public.hsts",
    ],
    &["listeners.plain.address", "listeners.plain.https_redirect"],
    &[
        "listeners.balanced.address",
        "listeners.balanced.proxy_protocol_from",
    ],
    &["upstreams.slave3.url"],
    &["upstreams.slave3.url", "upstreams.slave3.ca"],
    &["upstreams.slave3.url", "upstreams.slave3.server_name"],
    &[
        "upstreams.slave3.url",
        "upstreams.slave3.client_cert",
        "upstreams.slave3.client_key",
    ],
    &["upstreams.slave3.url", "geoserver.ca"],
    &["upstreams.slave3.url", "geoserver.server_name"],
    &[
        "upstreams.slave3.url",
        "geoserver.client_cert",
        "geoserver.client_key",
    ],
    &["geoserver.username", "geoserver.password_file"],
    &["geoserver.username", "geoserver.password_env"],
    &["geoserver.headers"],
    &["health.probe_layer"],
    &["catalog.watch"],
    &["catalog.canary_layer"],
    &["catalog.state_file"],
    &["limits.control_flow"],
    &["routes.N.path", "routes.N.name", "routes.N.refuse"],
    &["routes.N.method", "routes.N.refuse"],
    &["routes.N.service", "routes.N.operation", "routes.N.refuse"],
    &["routes.N.workspace", "routes.N.upstreams", "routes.N.only"],
    &["routes.N.layer", "routes.N.class"],
    &["routes.N.header", "routes.N.allow"],
    &["routes.N.from", "routes.N.refuse"],
    &["routes.N.not_from", "routes.N.refuse"],
];

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
        .environment_variable("SECRET", "a")
        .environment_variable("OTHER", "b")
        .environment_variable("GEOFRONT_ADMIN_TOKEN", "a")
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
        [family @ ("listeners" | "upstreams" | "classes"), _, key] => {
            format!("{family}.NAME.{key}")
        }
        ["routes", _, key] => format!("routes.N.{key}"),
        _ => key.to_owned(),
    }
}

#[test]
fn every_key_changes_the_configuration_and_the_change_is_told() {
    for key in known_keys() {
        let mut cases = CASES.iter().chain(https::CASES).chain(routes::CASES);
        let Some((_, before, after)) = cases.find(|(case, _, _)| *case == key) else {
            panic!("`{key}` has no case: what does it change?");
        };
        let (before, after) = (load_case(before), load_case(after));
        assert_ne!(before.config, after.config, "`{key}` changes nothing");
        let own_name = key.rsplit('.').next().expect("a name has a last part");
        match Change::between(&before, &after) {
            Change::NeedsRestart(keys) => {
                assert_eq!(
                    keys.iter().map(|key| general(key)).collect::<Vec<_>>(),
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
        CASES.len() + https::CASES.len() + routes::CASES.len(),
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
    for key in known_keys() {
        assert!(
            in_example.contains(&key),
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
    let effective: Vec<_> = load_case("+TLSRULE")
        .effective
        .iter()
        .map(|entry| general(&entry.key))
        .collect();
    for key in known_keys() {
        assert!(effective.contains(&key), "`{key}` has no effective value");
    }
}
