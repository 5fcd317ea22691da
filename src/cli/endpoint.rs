//! The address of the running geofront: from the command line, otherwise from its configuration
//! file, otherwise the default.
//!
//! The file is read leniently, for three keys only: `geofront status` must work while the file on
//! disk has a mistake.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::args::{DEFAULT_CONFIG, Endpoint};
use super::exit::{Exit, Failure};
use crate::config::Environment as _;
use crate::config_reload::RealEnvironment;

/// The default of the configuration's `admin`.
const DEFAULT_ADMIN: &str = "127.0.0.1:9090";

/// The admin address and its token.
#[derive(Debug, PartialEq)]
pub(super) struct AdminEndpoint {
    pub(super) address: String,
    pub(super) token: Option<String>,
    /// The cluster, of several.
    pub(super) cluster: Option<String>,
    /// The default configuration is there, and this user may not read it.
    pub(super) is_config_hidden: bool,
}

/// The keys that are read from the configuration.
#[derive(Debug, Default, PartialEq)]
struct Written {
    admin: Option<String>,
    token_file: Option<PathBuf>,
    token_variable: Option<String>,
    is_hidden: bool,
}

pub(super) fn find(endpoint: &Endpoint) -> Result<AdminEndpoint, Failure> {
    let written = read_config(endpoint.config.as_deref())?;
    let address = match (&endpoint.admin, written.admin) {
        (Some(given), _) => checked(given)?,
        (None, Some(configured)) => reachable(&configured),
        (None, None) => DEFAULT_ADMIN.to_owned(),
    };
    let token = match (
        &endpoint.token_file,
        written.token_file,
        written.token_variable,
    ) {
        (Some(file), _, _) => Some(read_token(file).map_err(|error| unreadable(file, &error))?),
        // The token may be unreadable for this user. The answer shows whether it was needed.
        (None, Some(file), _) => read_token(&file).ok(),
        (None, None, Some(variable)) => std::env::var(variable).ok(),
        (None, None, None) => None,
    };
    Ok(AdminEndpoint {
        address,
        token,
        cluster: endpoint.cluster.clone(),
        is_config_hidden: written.is_hidden,
    })
}

/// Reads the configuration. A named file must exist; the default one need not.
fn read_config(named: Option<&Path>) -> Result<Written, Failure> {
    let path = named.unwrap_or_else(|| Path::new(DEFAULT_CONFIG));
    match RealEnvironment.read(path) {
        Ok(text) => Ok(keys_of(&text, path)),
        Err(error) if named.is_some() => Err(unreadable(path, &error)
            .help("--admin HOST:PORT names the address of the running geofront")
            .exit(Exit::Config)),
        Err(error) => Ok(Written {
            is_hidden: error.kind() == io::ErrorKind::PermissionDenied,
            ..Written::default()
        }),
    }
}

/// The keys in `text`, as far as its syntax allows: of a line with a mistake nothing is known.
fn keys_of(text: &str, path: &Path) -> Written {
    let (table, _) = DeTable::parse_recoverable(text);
    let text = |key: &str| {
        let value = table.get_ref().get(key)?;
        value.get_ref().as_str().map(str::to_owned)
    };
    let beside = |file: String| path.parent().unwrap_or_else(|| Path::new("")).join(file);
    Written {
        admin: text("admin"),
        token_file: text("admin_token_file").map(beside),
        token_variable: text("admin_token_env"),
        is_hidden: false,
    }
}

fn read_token(file: &Path) -> io::Result<String> {
    Ok(RealEnvironment.read(file)?.trim().to_owned())
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("cannot read {}: {error}", path.display()))
}

/// `host:port`, with or without a leading `http://`.
fn checked(given: &str) -> Result<String, Failure> {
    let address = given
        .strip_prefix("http://")
        .unwrap_or(given)
        .trim_end_matches('/');
    let has_port = address.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok()
    });
    if has_port {
        return Ok(reachable(address));
    }
    Err(Failure::usage(format!(
        "--admin {given}: must be HOST:PORT, like {DEFAULT_ADMIN}"
    )))
}

/// An address that listens on all interfaces is reached over loopback.
fn reachable(address: &str) -> String {
    match address.parse::<SocketAddr>() {
        Ok(everywhere) if everywhere.ip().is_unspecified() => {
            let loopback = if everywhere.is_ipv4() {
                IpAddr::V4(Ipv4Addr::LOCALHOST)
            } else {
                IpAddr::V6(Ipv6Addr::LOCALHOST)
            };
            SocketAddr::new(loopback, everywhere.port()).to_string()
        }
        Ok(_) | Err(_) => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(admin: Option<&str>, config: Option<PathBuf>) -> Endpoint {
        Endpoint {
            admin: admin.map(str::to_owned),
            token_file: None,
            config,
            cluster: None,
        }
    }

    fn config(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("geofront.toml");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn the_configuration_names_address_and_token() {
        let (folder, path) = config(
            "admin = \"10.0.0.5:9191\"\nadmin_token_file = \"token\"\n[upstreams.main]\nurl = 3\n",
        );
        std::fs::write(folder.path().join("token"), "s3cret\n").unwrap();
        let target = find(&endpoint(None, Some(path))).unwrap();
        assert_eq!(
            target,
            AdminEndpoint {
                address: "10.0.0.5:9191".to_owned(),
                token: Some("s3cret".to_owned()),
                cluster: None,
                is_config_hidden: false,
            }
        );
    }

    #[test]
    fn the_command_line_has_the_last_word() {
        let (_folder, path) = config("admin = \"10.0.0.5:9191\"");
        let target = find(&endpoint(Some("http://localhost:9092/"), Some(path))).unwrap();
        assert_eq!(target.address, "localhost:9092");
    }

    #[test]
    fn a_broken_configuration_still_yields_the_address() {
        let address = |text: &str| {
            let (_folder, path) = config(text);
            find(&endpoint(None, Some(path))).unwrap().address
        };
        assert_eq!(address("admin = = 3"), DEFAULT_ADMIN);
        let custom = "admin = \"10.0.0.5:9191\"\n[upstreams.main\nurl = = 3\n";
        assert_eq!(address(custom), "10.0.0.5:9191");
    }

    #[test]
    fn an_address_on_all_interfaces_is_reached_over_loopback() {
        assert_eq!(reachable("0.0.0.0:9090"), "127.0.0.1:9090");
        assert_eq!(reachable("[::]:9090"), "[::1]:9090");
        assert_eq!(reachable("10.0.0.5:9090"), "10.0.0.5:9090");
    }

    #[test]
    fn an_address_without_a_port_is_wrong_usage() {
        for given in [
            "localhost",
            "10.0.0.5",
            ":9090",
            "https://localhost:9090",
            "localhost:x",
        ] {
            let refused = find(&endpoint(Some(given), None)).unwrap_err();
            assert_eq!(refused.exit, Exit::Usage, "{given}");
        }
    }

    #[test]
    fn a_configuration_that_was_named_must_be_there() {
        let refused = find(&endpoint(
            None,
            Some(PathBuf::from("/nonexistent/geofront.toml")),
        ))
        .unwrap_err();
        assert_eq!(refused.exit, Exit::Config);
    }
}
