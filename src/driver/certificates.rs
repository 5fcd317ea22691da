//! Checks how long geofront's certificates are valid, for conditions and metrics, and has those by
//! ACME ordered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::acme::CertificateOrders;
use super::wall_clock::seconds_since_1970;
use crate::cluster::Event;
use crate::config::Config;
use crate::control::Control;
use crate::metrics::{CertificateExpiry, Metrics};

/// Interval between checks. A new configuration is noticed this soon, too.
const INTERVAL: Duration = Duration::from_secs(1);

/// Checks until `shutdown` turns true.
pub async fn watch(
    control: Arc<Control>,
    metrics: Arc<Metrics>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut orders = CertificateOrders::new(Arc::clone(&metrics), shutdown.clone());
    let mut reported = Vec::new();
    loop {
        let config = Arc::clone(&control.snapshot().config);
        metrics.keep_certificates(expiries(&config));
        let mut troubles = config.certificate_troubles(seconds_since_1970());
        troubles.extend(orders.poll(&config).await);
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
