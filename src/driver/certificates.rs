//! Checks how long geofront's certificates are valid, for conditions and metrics.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

use crate::cluster::Event;
use crate::config::Config;
use crate::control::Control;
use crate::metrics::{CertificateExpiry, Metrics};
use crate::unix_time::since_1970;

/// Interval between checks. A new configuration is noticed this soon, too.
const INTERVAL: Duration = Duration::from_secs(1);

/// Checks until `shutdown` turns true.
pub async fn watch(
    control: Arc<Control>,
    metrics: Arc<Metrics>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut reported = Vec::new();
    loop {
        let config = Arc::clone(&control.snapshot().config);
        metrics.keep_certificates(expiries(&config));
        let troubles = config.certificate_troubles(seconds_since_1970());
        if troubles != reported {
            reported.clone_from(&troubles);
            control.handle(Event::CertificatesChecked(troubles), Instant::now());
        }
        tokio::select! {
            _ = shutdown.changed() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

fn expiries(config: &Config) -> Vec<CertificateExpiry> {
    let mut expiries = Vec::new();
    for listener in &config.listeners {
        let certificates = listener.tls.iter().flat_map(|tls| &tls.certificates);
        expiries.extend(certificates.map(|certificate| CertificateExpiry {
            listener: listener.name.clone(),
            name: certificate.name().to_owned(),
            not_after: certificate.not_after(),
        }));
    }
    expiries
}

/// The present time in the form in which certificates are compared.
pub fn seconds_since_1970() -> i64 {
    i64::try_from(since_1970(SystemTime::now()).as_secs()).unwrap_or(i64::MAX)
}
