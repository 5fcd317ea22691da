//! A simulated GeoServer cluster on its own, for something else to stand in front of.
//!
//! ```text
//! cargo run --release --example geosim -- UPSTREAMS.toml [REPLICAS]
//! ```
//!
//! Writes the upstreams into a file that geofront's configuration can include, once they listen.
//! Ends with its standard input.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::process::ExitCode;

use geofront::geosim::{Behaviour, Cluster};

/// A map of usual size.
const IMAGE_BYTES: usize = 20 * 1024;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let replicas = arguments.get(1).map_or(Some(2), |text| text.parse().ok());
    let (Some(file), Some(replicas)) = (arguments.first(), replicas) else {
        eprintln!("usage: geosim UPSTREAMS.toml [REPLICAS]");
        return ExitCode::from(64);
    };
    let cluster = Cluster::start_with(
        replicas,
        &Behaviour {
            image_bytes: Some(IMAGE_BYTES),
            ..Behaviour::default()
        },
    );
    match write_upstreams(&cluster, file).and_then(|()| io::stdin().read_to_end(&mut Vec::new())) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("geosim: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Replaces the file as a whole, so that a program that waits for it never reads half of it.
fn write_upstreams(cluster: &Cluster, file: &str) -> io::Result<()> {
    let mut toml = String::new();
    for (number, instance) in cluster.instances().enumerate() {
        let role = if number == 0 { "role = \"main\"\n" } else { "" };
        writeln!(
            toml,
            "[upstreams.{}]\nurl = \"http://{}\"\n{role}",
            instance.name(),
            instance.address()
        )
        .expect("a string grows");
    }
    let unfinished = format!("{file}.unfinished");
    std::fs::write(&unfinished, toml)?;
    std::fs::rename(unfinished, file)
}
