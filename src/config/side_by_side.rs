//! What the clusters behind one front door must not share, and should not.

use super::diagnostics::{Diagnostics, Problem};
use super::loaded::Loaded;
use super::source::Sources;
use super::{Address, Config};

const STATE_FILE: &str = "catalog.state_file";

impl Loaded {
    /// Refuses clusters that would write one file. Each of `clusters` is the configuration of one.
    pub fn check_side_by_side<'l>(
        clusters: impl IntoIterator<Item = &'l Self>,
    ) -> Result<(), Diagnostics> {
        let clusters: Vec<&Self> = clusters.into_iter().collect();
        let mut problems = Vec::new();
        for (at, cluster) in clusters.iter().enumerate() {
            let file = &cluster.config.catalog.state_file;
            let mut before = clusters[..at].iter();
            let first = before.find(|first| first.config.catalog.state_file == *file);
            if let (Some(first), Some(file)) = (first, file) {
                problems.push(
                    Problem::new(format!(
                        "clusters `{}` ({}) and `{}` ({}) both have the `{STATE_FILE}` {}",
                        name(&first.config),
                        first.origin_of(STATE_FILE),
                        name(&cluster.config),
                        cluster.origin_of(STATE_FILE),
                        file.display()
                    ))
                    .help("each cluster needs a state file of its own"),
                );
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Diagnostics::new(Sources::default(), problems))
        }
    }

    fn origin_of(&self, key: &str) -> &str {
        let mut entries = self.effective.iter();
        entries
            .find(|entry| entry.key == key)
            .map_or("", |entry| &entry.origin)
    }
}

/// A note for every GeoServer that is an upstream of two clusters.
pub fn shared_upstreams(clusters: &[&Config]) -> Vec<String> {
    let mut notes = Vec::new();
    for (at, cluster) in clusters.iter().enumerate() {
        for upstream in &cluster.upstreams {
            for first in &clusters[..at] {
                let twin = first.upstreams.iter().find(|other| {
                    let is_known = matches!(upstream.address, Address::Known(_));
                    is_known
                        && other.address == upstream.address
                        && first.geoserver.context == cluster.geoserver.context
                });
                if let Some(twin) = twin {
                    notes.push(format!(
                        "`{}` of cluster `{}` and `{}` of cluster `{}` are both {}: each cluster reloads its catalog and counts \
                         its requests without regard to the other",
                        twin.name,
                        name(first),
                        upstream.name,
                        name(cluster),
                        upstream.address
                    ));
                }
            }
        }
    }
    notes
}

fn name(config: &Config) -> &str {
    config.cluster.as_ref().map_or("", |name| name.as_str())
}
