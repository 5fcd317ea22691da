//! The keys about trust in peers: `trusted_proxies`, `trusted_identity`, `identity_headers` and
//! `public_url`.

use ipnet::IpNet;

use super::check::Check;
use super::public_url;
use crate::config::diagnostics::Problem;
use crate::config::raw::{RawTop, Slot};
use crate::config::{HeaderField, PublicUrl, Trust, defaults};

impl Check<'_> {
    pub(super) fn trust(&mut self, raw: &RawTop) -> Trust {
        let proxies = self.list("trusted_proxies", &raw.trusted_proxies, Vec::new());
        Trust {
            identity: self.trusted_identity(raw, &proxies),
            identity_headers: self.identity_headers(raw),
            public_url: self.public_url(&raw.public_url),
            proxies,
        }
    }

    /// `None` if the list follows `trusted_proxies`.
    fn trusted_identity(&mut self, raw: &RawTop, proxies: &[IpNet]) -> Option<Vec<IpNet>> {
        const KEY: &str = "trusted_identity";
        if !raw.trusted_identity.is_absent() {
            return Some(self.list(KEY, &raw.trusted_identity, Vec::new()));
        }
        let shown: Vec<_> = proxies.iter().map(IpNet::to_string).collect();
        self.note_derived(KEY, shown.join(", "), "trusted_proxies");
        None
    }

    fn identity_headers(&mut self, raw: &RawTop) -> Vec<HeaderField> {
        const KEY: &str = "identity_headers";
        let fields = self.list(KEY, &raw.identity_headers, Vec::new());
        let Some(at) = raw
            .identity_headers
            .at()
            .filter(|_| fields.len() > defaults::MAX_IDENTITY_HEADERS)
        else {
            return fields;
        };
        let title = format!(
            "`{KEY}` has {} names: at most {} are possible",
            fields.len(),
            defaults::MAX_IDENTITY_HEADERS
        );
        self.refuse(Problem::new(title).at(at));
        Vec::new()
    }

    fn public_url(&mut self, slot: &Slot<String>) -> Option<PublicUrl> {
        const KEY: &str = "public_url";
        let Some(written) = slot.given() else {
            self.note(KEY, String::new(), None);
            return None;
        };
        match public_url::parse(&written.value) {
            Ok(url) => {
                self.note(KEY, url.to_string(), Some(written.at));
                Some(url)
            }
            Err(rule) => {
                let problem = Problem::new(format!("`{KEY}` must {rule}")).at(written.at);
                self.refuse(problem);
                None
            }
        }
    }
}
