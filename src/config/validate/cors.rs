//! `[cors]`.

use super::check::Check;
use crate::config::diagnostics::Problem;
use crate::config::raw::RawCors;
use crate::config::{Cors, CorsHeader, CorsMethod, OriginPattern, defaults};

impl Check<'_> {
    pub(super) fn cors(&mut self, raw: &RawCors) -> Cors {
        let methods = defaults::CORS_METHODS.iter();
        let headers = defaults::CORS_HEADERS.iter();
        let cors = Cors {
            origins: self.list("cors.origins", &raw.origins, Vec::new()),
            methods: self.list(
                "cors.methods",
                &raw.methods,
                methods.filter_map(|name| CorsMethod::new(name)).collect(),
            ),
            headers: self.list(
                "cors.headers",
                &raw.headers,
                headers.filter_map(|name| CorsHeader::new(name)).collect(),
            ),
            credentials: self.value("cors.credentials", &raw.credentials, false),
            max_age: self.within(
                "cors.max_age",
                &raw.max_age,
                defaults::CORS_MAX_AGE,
                defaults::CORS_MAX_AGES,
            ),
        };
        if let Some(at) = raw.origins.at() {
            if cors.credentials && cors.origins.contains(&OriginPattern::Any) {
                let problem = Problem::new(
                    "`cors.origins` has \"*\" together with `cors.credentials`: every page could \
                     act with the password of a user who looks at it"
                        .to_owned(),
                );
                self.refuse(problem.at(at).help("list the origins"));
            }
            if cors.origins.len() > defaults::MAX_ORIGINS {
                let title = format!(
                    "`cors.origins` has {} entries: at most {} are possible",
                    cors.origins.len(),
                    defaults::MAX_ORIGINS
                );
                self.refuse(Problem::new(title).at(at));
            }
        }
        cors
    }
}
