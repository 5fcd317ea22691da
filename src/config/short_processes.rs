//! The processes that the operator has declared short (`classes.process.short`).

use super::Config;
use crate::ogc::{Clarity, Classified, RequestClass, Service};

/// The class of a request that runs short processes only: reads that a user waits for.
const CLASS: RequestClass = RequestClass::Info;
const REASON: &str =
    "a WPS Execute of a process that the configuration declares short (classes.process.short)";

impl Config {
    /// Gives an Execute of short processes the class of other short reads. All other requests keep
    /// their class: one that runs on in the background or leaves its result on one GeoServer, one
    /// with several readings, and one with any process that is not in the list.
    pub fn shorten(&self, classified: &mut Classified) {
        let is_read_with_certainty = classified.class == RequestClass::Process
            && classified.service == Some(Service::Wps)
            && classified.operation == Some("Execute")
            && classified.clarity == Clarity::Plain;
        let only = classified
            .processes
            .only_at_once()
            .filter(|_| is_read_with_certainty);
        let short = &self.classes[RequestClass::Process].short;
        if only.is_some_and(|name| short.contains(&name)) {
            (classified.class, classified.reason) = (CLASS, REASON);
        }
    }
}
