//! The real binary without a running geofront: help, wrong usage, `check` and `explain`.

#[path = "cli/binary.rs"]
mod binary;
#[path = "import/cases.rs"]
mod import;

use std::path::PathBuf;
use std::process::Command;

use binary::{Files, geofront};

const CLUSTER: &str = "[upstreams.main]\nurl = 'http://127.0.0.1:8180'\nrole = 'main'\n\
    [upstreams.replica1]\nurl = 'http://127.0.0.1:8280'\n";

/// `tests/data/help/NAME.txt`; written anew with `UPDATE_GOLDEN=1`.
fn assert_golden(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/help")
        .join(format!("{name}.txt"));
    let text: String = text
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("the golden file is written");
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text,
        golden,
        "{} differs: if it should, run this test with UPDATE_GOLDEN=1",
        path.display()
    );
}

#[test]
fn help_describes_each_command() {
    assert_golden("geofront", &geofront(&["--help"]).out);
    for command in [
        "run",
        "demo",
        "check",
        "explain",
        "import",
        "mapping",
        "status",
        "drain",
        "ready",
        "maintenance",
        "reload",
        "sync",
        "catalog",
        "log",
        "top",
    ] {
        let said = geofront(&[command, "--help"]);
        assert_eq!(said.code, 0);
        assert_golden(command, &said.out);
    }
}

#[test]
fn wrong_usage_exits_64_and_names_the_error() {
    for (arguments, complaint) in [
        (&["frobnicate"][..], "unrecognized subcommand 'frobnicate'"),
        (&["drain"][..], "required arguments were not provided"),
        (
            &["run", "my.toml"][..],
            "tip: the configuration is given with '--config my.toml'",
        ),
        (
            &["status", "Cargo.toml", "--json"][..],
            "tip: the configuration is given with '--config Cargo.toml'",
        ),
        (
            &["status", "--jason"][..],
            "similar argument exists: '--json'",
        ),
        (
            &["drain", "a", "--wait", "--timeout", "soon"][..],
            "invalid value 'soon' for '--timeout <TIME>'",
        ),
        (
            &["status", "--admin", "nowhere"][..],
            "--admin nowhere: must be HOST:PORT, like 127.0.0.1:9090",
        ),
        (
            &["explain", "wms"][..],
            "`wms` is no URL: it must start with http://, https:// or /",
        ),
    ] {
        let said = geofront(arguments);
        assert!(
            said.code == 64 && said.err.contains(complaint),
            "{arguments:?}: {} {}",
            said.code,
            said.err
        );
    }
}

#[test]
fn a_closed_admin_port_is_reported_plainly() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    for (arguments, code) in [
        (&["status"][..], 2),
        (&["reload"][..], 1),
        (&["sync", "--wait"][..], 1),
        (&["drain", "replica1"][..], 1),
    ] {
        let said = geofront(&[arguments, &["--admin", &free]].concat());
        let expected = format!(
            "error: geofront does not answer on {free}: is it running? (Connection refused"
        );
        assert!(
            said.code == code && said.err.starts_with(&expected),
            "{arguments:?}: {} {}",
            said.code,
            said.err
        );
    }
}

#[test]
fn check_explains_a_valid_configuration() {
    let files = Files::new(&[("geofront.toml", CLUSTER)]);
    let said = geofront(&["check", &files.text("geofront.toml")]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(
        said.out.contains("is right.") && said.out.contains("replica1"),
        "{}",
        said.out
    );
}

#[test]
fn check_warns_of_a_name_that_does_not_resolve_and_is_content() {
    let files = Files::new(&[(
        "geofront.toml",
        &format!("{CLUSTER}[upstreams.replica2]\nurl = 'http://gs2.invalid:8080'\n"),
    )]);
    let said = geofront(&["check", &files.text("geofront.toml")]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(
        said.out
            .contains("geofront.toml:7: cannot resolve host `gs2.invalid`: "),
        "{}",
        said.out
    );
}

#[test]
fn check_warns_of_rules_that_lead_the_main_away_for_nothing() {
    let warned = |conditions: &str| {
        let rule = format!("{CLUSTER}[[routes]]\nupstreams = 'replica1'\n{conditions}\n");
        let files = Files::new(&[("geofront.toml", &rule)]);
        let said = geofront(&["check", &files.text("geofront.toml")]);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{conditions}");
        said.out.contains("`upstreams` has no effect")
    };
    for conditions in [
        "operation = 'Transaction'",
        "operation = ['LockFeature', 'PutStyles']\nlayer = 'topp:*'",
        "path = '/rest/**'",
        "path = ['/gwc/rest/**', '/web/**', '/rest']",
    ] {
        assert!(warned(conditions), "{conditions}");
    }
    for conditions in [
        "operation = ['Transaction', 'GetFeature']",
        "operation = 'Execute'",
        "path = ['/rest/**', '/wfs']",
        "path = '/rests/**'",
        "path = '/rest/**'\nclass = 'feature'",
        "workspace = 'topp'",
    ] {
        assert!(!warned(conditions), "{conditions}");
    }
}

#[test]
fn check_shows_every_problem_and_exits_78() {
    let wrong = CLUSTER
        .replace("role = 'main'", "role = 'boss'")
        .replace("[upstreams.replica1]", "[upstreams.replica1]\nwieght = 3");
    let files = Files::new(&[("geofront.toml", &wrong)]);
    let said = geofront(&["check", &files.text("geofront.toml")]);
    assert_eq!((said.code, said.out.as_str()), (78, ""));
    for part in [
        "boss",
        "wieght",
        "weight",
        "geofront.toml:3:",
        "geofront.toml:5:",
    ] {
        assert!(said.err.contains(part), "`{part}` is not in:\n{}", said.err);
    }
}

/// A certificate that is valid until the end of `year`, and its key.
fn certificate(year: i32) -> (String, String) {
    let mut params = rcgen::CertificateParams::new(["maps.example.org".to_owned()])
        .expect("a host name can be certified");
    params.not_after = rcgen::date_time_ymd(year, 12, 31);
    let key = rcgen::KeyPair::generate().expect("a key can be made");
    let certificate = params.self_signed(&key).expect("it can be signed");
    (certificate.pem(), key.serialize_pem())
}

const TLS: &str =
    "[listeners.public]\naddress = '127.0.0.1:8443'\ncert = 'cert.pem'\nkey = 'cert.key'\n";

#[test]
fn check_warns_of_a_certificate_that_has_expired() {
    let config = format!("{CLUSTER}{TLS}");
    let said = |year| {
        let (certificate, key) = certificate(year);
        let files = [
            ("geofront.toml", config.as_str()),
            ("cert.pem", &certificate),
            ("cert.key", &key),
        ];
        let files = Files::new(&files);
        geofront(&["check", &files.text("geofront.toml")])
    };
    let warning = "warning: certificate maps.example.org of listener public: it expired ";
    let expired = said(2001);
    assert!(
        expired.code == 0 && expired.out.contains(warning),
        "{}",
        expired.out
    );
    let valid = said(2999);
    assert!(
        valid.code == 0 && !valid.out.contains("certificate"),
        "{}",
        valid.out
    );
}

#[test]
fn check_names_a_key_that_does_not_belong_to_its_certificate() {
    let config = format!("{CLUSTER}{TLS}");
    let ((certificate, _), (_, key)) = (certificate(2999), certificate(2999));
    let files = Files::new(&[
        ("geofront.toml", config.as_str()),
        ("cert.pem", &certificate),
        ("cert.key", &key),
    ]);
    let said = geofront(&["check", &files.text("geofront.toml")]);
    assert_eq!(said.code, 78);
    let line = "cert.key does not belong to the certificate in";
    assert!(
        said.err.contains(line) && said.err.contains("geofront.toml:9:"),
        "{}",
        said.err
    );
    assert!(!said.err.contains("PRIVATE KEY"), "{}", said.err);
}

#[test]
fn check_names_the_faults_of_the_files_for_https_to_geoserver() {
    let with = |key: &str| {
        let config = format!(
            "{CLUSTER}[upstreams.secure]\nurl = 'https://127.0.0.1:8443'\nca = 'ca.pem'\nclient_cert = 'own.pem'\nclient_key = 'own.key'\n"
        );
        let (own, _) = certificate(2999);
        let files = Files::new(&[
            ("geofront.toml", config.as_str()),
            ("ca.pem", "nothing"),
            ("own.pem", &own),
            ("own.key", key),
        ]);
        geofront(&["check", &files.text("geofront.toml")])
    };
    let (_, other) = certificate(2999);
    let said = with(&other);
    assert_eq!(said.code, 78);
    for line in [
        "error: [upstreams.secure]: ",
        "ca.pem: it holds no certificate in PEM form",
        "own.key does not belong to the certificate in",
    ] {
        assert!(said.err.contains(line), "{line}: {}", said.err);
    }
    let said = with("");
    let line = "own.key: it holds no private key in PEM form";
    assert!(said.err.contains(line), "{}", said.err);
}

#[test]
fn check_of_a_file_that_is_not_there_names_it() {
    let said = geofront(&["check", "/nonexistent/geofront.toml"]);
    assert!(
        said.code == 78 && said.err.contains("/nonexistent/geofront.toml"),
        "{} {}",
        said.code,
        said.err
    );
}

#[test]
fn explain_names_the_class_and_the_destination_of_a_request() {
    let files = Files::new(&[("geofront.toml", CLUSTER)]);
    let url = "http://maps.example.org/geoserver/wms?SERVICE=WMS&REQUEST=GetMap&LAYERS=geor:roads";
    let said = geofront(&["explain", url, "--config", &files.text("geofront.toml")]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    for part in [
        "class        map\n",
        "layer        geor:roads\n",
        "goes to      replica1 (weight 100); main when none of them serves\n",
    ] {
        assert!(said.out.contains(part), "`{part}` is not in:\n{}", said.out);
    }
}

#[test]
fn explain_refuses_what_is_no_method_or_no_header() {
    for (words, complaint) in [
        (&["B A D", "/x"][..], "`B A D` is no method"),
        (&["/x", "--header", "bad"][..], "`bad` is no header"),
    ] {
        let said = geofront(&[&["explain"], words].concat());
        assert_eq!((said.code, said.out.as_str()), (64, ""));
        assert!(said.err.contains(complaint), "{}", said.err);
    }
}

#[test]
fn explain_reads_the_body_of_a_post() {
    let insert = "<wfs:Transaction service=\"WFS\" version=\"1.1.0\" xmlns:wfs=\"http://www.opengis.net/wfs\"><wfs:Insert/></wfs:Transaction>";
    let files = Files::new(&[("geofront.toml", CLUSTER), ("insert.xml", insert)]);
    let (config, body) = (files.text("geofront.toml"), files.text("insert.xml"));
    let said = geofront(&[
        "explain",
        "/geoserver/wfs",
        "--body",
        &body,
        "--config",
        &config,
    ]);
    assert!(
        said.out.contains("class        transaction\n") && said.out.contains("goes to      main"),
        "{}",
        said.out
    );
}

#[test]
fn a_closed_output_pipe_is_no_error() {
    let script = format!(
        "'{}' explain / | true; exit ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_geofront")
    );
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).as_ref()
        ),
        (Some(0), "")
    );
}

#[test]
fn check_can_probe_each_upstream_and_reports_its_answer() {
    let ports = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let [main, replica] = ports.map(|listener| listener.local_addr().unwrap().port().to_string());
    let files = Files::new(&[(
        "geofront.toml",
        &CLUSTER
            .replace("127.0.0.1:8180", &format!("localhost:{main}"))
            .replace("8280", &replica),
    )]);
    let said = geofront(&["check", "--probe", &files.text("geofront.toml")]);
    let problems = said.out.matches("\nproblem: ").count();
    assert_eq!((said.code, problems), (1, 2), "{}", said.out);
    let curl = |host: &str, port: &str, resolve: &str| {
        format!("`curl -sI {resolve}http://{host}:{port}/geoserver/index.html`")
    };
    let by_name = curl(
        "localhost",
        &main,
        &format!("--resolve localhost:{main}:127.0.0.1 "),
    );
    for help in [
        "help: is GeoServer running there",
        "Of the addresses of localhost, geofront uses 127.0.0.1. Try",
        &by_name,
        &curl("127.0.0.1", &replica, ""),
    ] {
        assert!(said.out.contains(help), "{help}\n{}", said.out);
    }
    let said = geofront(&["check", "--probe", "--json", &files.text("geofront.toml")]);
    let json: serde_json::Value = serde_json::from_str(&said.out).expect("it is JSON");
    assert_eq!(
        (said.code, &json["findings"][0]["kind"]),
        (1, &serde_json::json!("health"))
    );
}

#[test]
fn mapping_prints_the_entries_of_the_security_proxy_and_the_gateway() {
    let files = Files::new(&[(
        "geofront.toml",
        "listen = [\"0.0.0.0:8080\"]\n[upstreams.main]\nurl = \"http://10.0.0.1\"\nrole = \"main\"\n[upstreams.a]\nurl = \"http://10.0.0.2\"\n",
    )]);
    let config = files.text("geofront.toml");
    let mapping = geofront(&["mapping", "--config", &config, "--host", "10.0.0.9"]);
    assert_eq!((mapping.code, mapping.err.as_str()), (0, ""));
    for line in [
        "geoserver=http://10.0.0.9:8080/geoserver/",
        "        target: http://10.0.0.9:8080/geoserver/",
    ] {
        let is_there = mapping.out.lines().any(|printed| printed == line);
        assert!(is_there, "`{line}` is not in:\n{}", mapping.out);
    }
    let mapping = geofront(&["mapping", "--config", &config, "--host", "http://10.0.0.9"]);
    assert!(
        mapping.code == 64 && mapping.err.contains("`http://10.0.0.9` is no host name"),
        "{}",
        mapping.err
    );
}

#[test]
fn log_explains_a_request_of_a_file_and_of_standard_input() {
    let line = "time=2026-03-01T09:12:03.353Z id=4f2a client=192.0.2.7 peer=192.0.2.7 method=GET path=/geoserver/wms status=503 class=map \
        attempts=0 total_ms=1.000 bytes=10 end=refused:queue-full user=-\n";
    let files = Files::new(&[("access.log", line)]);
    let said = geofront(&["log", "--why", "4f2a", &files.text("access.log")]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    for part in [
        "Request 4f2a of 2026-03-01T09:12:03.353Z: status 503",
        "geofront answered itself, with the reason `queue-full`: every upstream is at its concurrency limit",
    ] {
        assert!(said.out.contains(part), "`{part}` is not in:\n{}", said.out);
    }
    let config = format!("{CLUSTER}[log]\naccess = '{}'\n", files.text("access.log"));
    let configured = Files::new(&[("geofront.toml", &config)]);
    let config = configured.text("geofront.toml");
    let said = geofront(&["log", "--why", "4f2a", "--config", &config]);
    assert_eq!(said.code, 0, "{}", said.err);
    let said = geofront(&["log", "--why", "beef", "--config", &config]);
    assert!(
        said.code == 1 && said.err.contains("no request `beef` is in"),
        "{}",
        said.err
    );
}

#[test]
fn import_prints_the_limits_of_a_controlflow_properties() {
    let rules = "# for the whole\ntimeout=60\nows.wms.getmap=4\nows.wns=3\n";
    let files = Files::new(&[("controlflow.properties", rules)]);
    let said = geofront(&["import", &files.text("controlflow.properties")]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    for part in [
        "[limits]\nqueue_timeout = \"60s\"\n",
        "    \"ows.wms.getmap=4\",\n",
        "    # left out: ows.wns=3\n",
    ] {
        assert!(said.out.contains(part), "`{part}` is not in:\n{}", said.out);
    }
}
