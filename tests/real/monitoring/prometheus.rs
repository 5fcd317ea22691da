//! Debian's Prometheus, scraping a front door every second with the rules of the kit.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::rules;
use crate::{program, wait};

const START: Duration = Duration::from_secs(30);

/// From an event to the result of a query that shows it: a few scrapes and evaluations.
const PATIENCE: Duration = Duration::from_secs(40);

/// Another process may take a free port before Prometheus does.
const ATTEMPTS: u32 = 5;

/// The labels of a series; without its name.
pub(crate) type Labels = BTreeMap<String, String>;

/// Stopped when dropped.
pub(crate) struct Prometheus {
    process: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Prometheus {
    pub(crate) fn scraping(target: SocketAddr) -> Self {
        let program = program::find("prometheus", "prometheus");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = folder.path().join("prometheus.yml");
        fs::write(&config, configuration(target)).expect("the configuration is written");
        for _ in 0..ATTEMPTS {
            let address = free_address();
            let log = File::create(folder.path().join("log")).expect("the log is created");
            let mut process = Command::new(&program)
                .arg(format!("--config.file={}", config.display()))
                .arg(format!(
                    "--storage.tsdb.path={}",
                    folder.path().join("data").display()
                ))
                .arg(format!("--web.listen-address={address}"))
                .stdin(Stdio::null())
                .stdout(log.try_clone().expect("the log's second handle"))
                .stderr(log)
                .spawn()
                .expect("Prometheus starts");
            let is_ready = wait::until("Prometheus is ready or has ended", START, || {
                let has_ended = process.try_wait().expect("our own child").is_some();
                let ready = ureq::get(format!("http://{address}/-/ready")).call();
                (has_ended || ready.is_ok()).then_some(!has_ended)
            });
            if is_ready {
                return Self {
                    process,
                    address,
                    folder,
                };
            }
        }
        let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        panic!("Prometheus does not start:\n{log}");
    }

    pub(crate) fn wait_for_two_scrapes(&self) {
        wait::until("two scrapes", PATIENCE, || {
            let counted = self.query("count_over_time(up[1m]) >= 2");
            (!counted.is_empty()).then_some(())
        });
    }

    /// The series that `query` gives, once there are some; fails with `place` if none come.
    #[track_caller]
    pub(crate) fn series(&self, place: &str, query: &str) -> Vec<Labels> {
        wait::until(&format!("{place} has a result"), PATIENCE, || {
            Some(self.query(query)).filter(|found| !found.is_empty())
        })
    }

    fn query(&self, query: &str) -> Vec<Labels> {
        let answer = self.get("/api/v1/query", Some(query));
        let result = answer["data"]["result"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        result
            .iter()
            .map(|series| serde_json::from_value(series["metric"].clone()).unwrap_or_default())
            .collect()
    }

    /// Every rule was evaluated without an error.
    pub(crate) fn assert_rules_are_healthy(&self) {
        let answer = self.get("/api/v1/rules", None);
        let groups = answer["data"]["groups"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let rules: Vec<&Value> = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().into_iter().flatten())
            .collect();
        assert_eq!(rules.len(), rules::queries().len(), "{answer}");
        for rule in rules {
            assert_eq!(rule["health"], "ok", "{rule}");
        }
    }

    fn get(&self, path: &str, query: Option<&str>) -> Value {
        let mut request = ureq::get(format!("http://{}{path}", self.address))
            .config()
            .http_status_as_error(false)
            .build();
        if let Some(query) = query {
            request = request.query("query", query);
        }
        let mut answer = request.call().expect("Prometheus answers");
        let body = answer.body_mut().read_to_string().expect("text to its end");
        let answer: Value = serde_json::from_str(&body).expect("answers are JSON");
        assert_eq!(answer["status"], "success", "{query:?}: {answer}");
        answer
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("the log of Prometheus:\n{log}");
        }
        // It may have ended already, which the test has noticed.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener
        .local_addr()
        .expect("a bound socket has an address")
}

fn configuration(target: SocketAddr) -> String {
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
         rule_files: ['{}']\n\
         scrape_configs:\n- job_name: geofront\n  static_configs:\n  - targets: ['{target}']\n",
        rules::path().display()
    )
}
