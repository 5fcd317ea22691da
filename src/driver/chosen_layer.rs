//! Chooses the layer for probes and canaries if none is configured.
//!
//! A candidate comes from the main's capabilities. It is chosen if the main draws a tiny map of it
//! quickly and a replica does, too: a layer that only the main can draw would prove nothing about
//! the others. Candidates are cheap to try: the map is ten pixels wide and shows a kilometre,
//! cascaded layers are left out, and both the number of attempts and their time are bounded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event as Xml};

use super::internal_request::{Answer, Deadline, InternalRequest};
use super::probe::Prober;
use super::probe_request::ProbeRequest;
use crate::cluster::{Cause, Event, LayerChoice, Outcome, ProbeReport, Upstream};
use crate::config::Config;
use crate::ogc::fault_texts;

/// Bytes of capabilities that are read. A root layer with every known CRS takes a quarter of it.
const MAX_CAPABILITIES: usize = 2 << 20;
/// Timeout for the capabilities of a large catalog.
const CAPABILITIES_TIME: Duration = Duration::from_secs(30);
/// Maximum number of layer names that are read.
const MAX_NAMES: usize = 1000;
/// Maximum nesting depth. A deeper document is not a capabilities document.
const MAX_DEPTH: usize = 32;
/// Maximum number of layers that are tried on the main.
const MAX_TRIES: usize = 8;
/// Maximum drawing time of a quick layer.
const QUICK: Duration = Duration::from_secs(1);
/// Divisor of a probe's time: this part is for the map, the rest for capabilities if the map does
/// not decide.
const MAP_SHARE: u32 = 2;

/// The result of a probe that draws the chosen layer.
pub(super) struct Drawn {
    pub(super) report: ProbeReport,
    /// The upstream answered, but not with a map.
    pub(super) is_refused: bool,
}

/// Probes `upstream` with the chosen layer. A map passes. A catalog without the layer fails, as
/// after a reload that left it empty. Any other result concerns the layer and not the upstream, so
/// capabilities decide, as they do without a chosen layer.
pub(super) async fn probe(
    prober: &Prober,
    layer: &str,
    upstream: &Upstream,
    config: &Config,
) -> Drawn {
    let (began, limit) = (Instant::now(), config.health.timeout);
    let map = draw(prober, layer, upstream, config, limit / MAP_SHARE).await;
    let is_refused = matches!(
        &map,
        Outcome::Failure(
            Cause::Unexpected(_) | Cause::Status(_) | Cause::NodeFault(_) | Cause::Credentials(_)
        )
    );
    // The main's catalog defines which layers exist, so the health of the main does not depend on
    // one layer.
    let is_decided = map == Outcome::Success || is_missing(&map) && !upstream.is_main();
    let outcome = if is_decided {
        map
    } else {
        send_probe(
            prober,
            ProbeRequest::Capabilities,
            upstream,
            config,
            limit.saturating_sub(began.elapsed()),
        )
        .await
    };
    Drawn {
        report: ProbeReport {
            outcome,
            took: began.elapsed(),
        },
        is_refused,
    }
}

/// True if the catalog does not have the layer.
fn is_missing(outcome: &Outcome) -> bool {
    let Outcome::Failure(Cause::Unexpected(text)) = outcome else {
        return false;
    };
    fault_texts::is_missing_layer(text)
}

/// Draws a map of one kilometre, ten pixels wide.
async fn draw(
    prober: &Prober,
    layer: &str,
    upstream: &Upstream,
    config: &Config,
    limit: Duration,
) -> Outcome {
    let target = format!(
        "{}/wms?service=WMS&version=1.3.0&request=GetMap&layers={}&styles=&format=image/png&crs=EPSG:3857&bbox=0,0,1000,1000\
         &width=10&height=10",
        config.geoserver.context,
        utf8_percent_encode(layer, NON_ALPHANUMERIC)
    );
    send(
        prober,
        target,
        ProbeRequest::Map(layer),
        upstream,
        config,
        limit,
    )
    .await
}

async fn send_probe(
    prober: &Prober,
    probe: ProbeRequest<'_>,
    upstream: &Upstream,
    config: &Config,
    limit: Duration,
) -> Outcome {
    send(
        prober,
        probe.target(&config.geoserver.context),
        probe,
        upstream,
        config,
        limit,
    )
    .await
}

async fn send(
    prober: &Prober,
    target: String,
    probe: ProbeRequest<'_>,
    upstream: &Upstream,
    config: &Config,
    limit: Duration,
) -> Outcome {
    let is_enough = |answer: &Answer| probe.is_answered(answer);
    let request = InternalRequest::get(target).authenticated(config.health.authenticate);
    let answer = prober
        .client()
        .run(
            &request,
            upstream,
            config,
            Deadline::after(limit),
            is_enough,
        )
        .await;
    answer.map_or_else(Outcome::Failure, |answer| probe.judge(&answer))
}

/// Carries out [`crate::cluster::Action::ChooseLayer`].
pub(super) async fn choose_layer(prober: &Prober, choice: LayerChoice, config: &Config) -> Event {
    let sent_at = Instant::now();
    let layer = choose(prober, &choice, config).await;
    Event::LayerChosen { sent_at, layer }
}

async fn choose(
    prober: &Prober,
    choice: &LayerChoice,
    config: &Config,
) -> Result<String, &'static str> {
    let names = layers_of(prober, &choice.main, config).await?;
    if names.is_empty() {
        return Err("the main's capabilities list no layer");
    }
    let mut is_drawn = false;
    for layer in candidates(&names, choice.previous.as_deref()) {
        if !draws(prober, layer, &choice.main, config).await {
            continue;
        }
        is_drawn = true;
        for replica in &choice.replicas {
            if draws(prober, layer, replica, config).await {
                return Ok(layer.to_owned());
            }
        }
    }
    Err(if is_drawn {
        "no replica draws a layer that the main draws"
    } else {
        "the main draws none of the layers tried quickly"
    })
}

async fn layers_of(
    prober: &Prober,
    main: &Arc<Upstream>,
    config: &Config,
) -> Result<Vec<String>, &'static str> {
    let target = format!(
        "{}/wms?service=WMS&version=1.3.0&request=GetCapabilities",
        config.geoserver.context
    );
    let is_enough = |answer: &Answer| answer.body.len() > MAX_CAPABILITIES;
    let deadline = Deadline::after(CAPABILITIES_TIME);
    let request = InternalRequest::get(target).authenticated(config.health.authenticate);
    let answer = prober
        .client()
        .run(&request, main, config, deadline, is_enough)
        .await;
    answer
        .map(|answer| named_layers(&answer.body))
        .map_err(|_| "the main's capabilities cannot be read")
}

async fn draws(prober: &Prober, layer: &str, upstream: &Upstream, config: &Config) -> bool {
    draw(
        prober,
        layer,
        upstream,
        config,
        QUICK.min(config.health.timeout),
    )
    .await
        == Outcome::Success
}

/// The candidates: the layer that was chosen before, and then some from all parts of the list,
/// which is sorted by workspace.
fn candidates<'n>(names: &'n [String], previous: Option<&str>) -> impl Iterator<Item = &'n str> {
    let previous = previous.and_then(|previous| names.iter().find(|name| *name == previous));
    let step = names.len().div_ceil(MAX_TRIES);
    let spread = names
        .iter()
        .step_by(step)
        .filter(move |name| Some(*name) != previous);
    previous
        .into_iter()
        .chain(spread)
        .map(String::as_str)
        .take(MAX_TRIES)
}

/// The layer names in WMS capabilities, as far as they were read, without groups and cascaded
/// layers.
fn named_layers(xml: &[u8]) -> Vec<String> {
    let mut reader = Reader::from_reader(xml);
    let mut found = Found::default();
    // A truncated document ends with an error; everything before it counts.
    while let Ok(event) = reader.read_event() {
        match event {
            Xml::Start(start) => found.start(&start),
            Xml::Text(text) if found.is_name => found.name(&text.decode().unwrap_or_default()),
            Xml::End(_) => found.end(),
            Xml::Eof => break,
            _ => {}
        }
        if found.layers.len() >= MAX_NAMES || found.depth > MAX_DEPTH {
            break;
        }
    }
    found.layers
}

/// The position of a reader in a document, and its results.
#[derive(Default)]
struct Found {
    layers: Vec<String>,
    /// The layers whose end tags have not come yet.
    open: Vec<Open>,
    depth: usize,
    /// The next text is the name of the innermost layer.
    is_name: bool,
}

struct Open {
    depth: usize,
    name: Option<String>,
    is_cascaded: bool,
    has_children: bool,
}

impl Found {
    fn start(&mut self, start: &BytesStart<'_>) {
        let parent = self.open.last_mut();
        match start.local_name().as_ref() {
            b"Layer" => {
                if let Some(parent) = parent {
                    parent.has_children = true;
                }
                let cascaded = start.try_get_attribute("cascaded").ok().flatten();
                let is_cascaded = cascaded.is_some_and(|cascaded| *cascaded.value != *b"0");
                self.open.push(Open {
                    depth: self.depth,
                    name: None,
                    is_cascaded,
                    has_children: false,
                });
            }
            b"Name" => self.is_name = parent.is_some_and(|layer| layer.depth + 1 == self.depth),
            _ => {}
        }
        self.depth += 1;
    }

    fn name(&mut self, text: &str) {
        self.is_name = false;
        if let Some(layer) = self.open.last_mut() {
            layer.name = Some(text.trim().to_owned());
        }
    }

    fn end(&mut self) {
        (self.depth, self.is_name) = (self.depth.saturating_sub(1), false);
        if let Some(Open {
            name,
            is_cascaded,
            has_children,
            ..
        }) = self.open.pop_if(|layer| layer.depth == self.depth)
        {
            self.layers
                .extend(name.filter(|name| !name.is_empty() && !is_cascaded && !has_children));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPABILITIES: &str = "<?xml version=\"1.0\"?><WMS_Capabilities><Service><Name>WMS</Name></Service><Capability><Layer>\
        <Title>All</Title><CRS>EPSG:4326</CRS>\
        <Layer queryable=\"1\"><Name>geor:roads</Name><Style><Name>line</Name></Style></Layer>\
        <Layer cascaded=\"1\"><Name>far:away</Name></Layer>\
        <Layer><Name>group</Name><Layer cascaded=\"0\"><Name>geor:in_group</Name></Layer></Layer>\
        <Layer><Title>without a name</Title></Layer>";

    #[test]
    fn the_layers_of_capabilities_are_those_that_can_be_drawn_by_themselves() {
        assert_eq!(
            named_layers(CAPABILITIES.as_bytes()),
            ["geor:roads", "geor:in_group"],
            "although the end is missing"
        );
        assert_eq!(named_layers(b"<html><body>Welcome"), [""; 0]);
        assert_eq!(named_layers(b""), [""; 0]);
    }

    #[test]
    fn the_part_of_capabilities_that_is_read_is_bounded() {
        let many = "<Layer><Name>a</Name></Layer>".repeat(MAX_NAMES * 2);
        assert_eq!(named_layers(many.as_bytes()).len(), MAX_NAMES);
        assert_eq!(named_layers("<Layer>".repeat(100_000).as_bytes()), [""; 0]);
    }

    #[test]
    fn the_layer_chosen_before_is_tried_first_and_a_few_from_all_over_the_list_after_it() {
        let names: Vec<String> = (0..100).map(|number| format!("w:{number:02}")).collect();
        let tried: Vec<_> = candidates(&names, Some("w:42")).collect();
        assert_eq!(
            tried,
            [
                "w:42", "w:00", "w:13", "w:26", "w:39", "w:52", "w:65", "w:78"
            ]
        );
        assert_eq!(candidates(&names, Some("gone")).next(), Some("w:00"));
        assert_eq!(
            candidates(&names[..2], None).collect::<Vec<_>>(),
            ["w:00", "w:01"]
        );
    }
}
