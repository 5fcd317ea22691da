//! A typical day of map clients, in short: tiles, maps, a few features and capabilities, from many
//! clients at once.
//!
//! ```text
//! cargo run --release --example typical_mix -- 127.0.0.1:8080 [SECONDS] [CLIENTS]
//! ```
//!
//! Made for `make demo` (the layer is the one that geOrchestra ships) and for training
//! `make release`. The mix follows what is published about map portals: half of the requests are
//! tiles, a third are maps, the rest is everything else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

const WMS: &str = "/geoserver/wms?SERVICE=WMS&VERSION=1.1.1&LAYERS=geor%3Apublic_layer&STYLES=&SRS=EPSG%3A4326&BBOX=-180,-90,180,90";
const WFS: &str = "/geoserver/wfs?SERVICE=WFS&VERSION=2.0.0&TYPENAMES=geor:public_layer";

const POSTED_QUERY: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<wfs:GetFeature service="WFS" version="2.0.0" count="10" xmlns:wfs="http://www.opengis.net/wfs/2.0">
  <wfs:Query typeNames="geor:public_layer"/>
</wfs:GetFeature>"#;

/// How often of a hundred, and what.
fn mix() -> Vec<(usize, Request)> {
    let wms = |rest: &str| Request::Get(format!("{WMS}{rest}"));
    let wfs = |rest: &str| Request::Get(format!("{WFS}{rest}"));
    let tile = "/geoserver/gwc/service/wmts?SERVICE=WMTS&VERSION=1.0.0&REQUEST=GetTile&LAYER=geor:public_layer&STYLE=\
                &TILEMATRIXSET=EPSG:900913&TILEMATRIX=EPSG:900913:4&TILEROW=5&TILECOL=8&FORMAT=image/png";
    let capabilities = |service: &str, version: &str| {
        Request::Get(format!(
            "/geoserver/ows?SERVICE={service}&VERSION={version}&REQUEST=GetCapabilities"
        ))
    };
    vec![
        (40, Request::Get(tile.to_owned())),
        (
            8,
            wms("&REQUEST=GetMap&FORMAT=image/png&WIDTH=256&HEIGHT=256&tiled=true"),
        ),
        (
            24,
            wms("&REQUEST=GetMap&FORMAT=image/png&WIDTH=512&HEIGHT=512&TRANSPARENT=true"),
        ),
        (
            8,
            wms("&REQUEST=GetMap&FORMAT=image/png&WIDTH=1024&HEIGHT=768"),
        ),
        (
            7,
            wms(
                "&REQUEST=GetFeatureInfo&QUERY_LAYERS=geor:public_layer&X=50&Y=50&WIDTH=101&HEIGHT=101&INFO_FORMAT=application/json",
            ),
        ),
        (
            3,
            wms(
                "&REQUEST=GetLegendGraphic&LAYER=geor:public_layer&FORMAT=image/png&WIDTH=20&HEIGHT=20",
            ),
        ),
        (2, capabilities("WMS", "1.3.0")),
        (1, capabilities("WFS", "2.0.0")),
        (
            4,
            wfs("&REQUEST=GetFeature&COUNT=50&OUTPUTFORMAT=application/json"),
        ),
        (2, Request::Post("/geoserver/wfs", POSTED_QUERY)),
        (1, Request::Get("/geoserver/web/".to_owned())),
    ]
}

#[derive(Clone)]
enum Request {
    Get(String),
    /// XML.
    Post(&'static str, &'static str),
}

/// The mix spread evenly over a hundred requests: no hundred tiles in a row.
fn hundred() -> Vec<Request> {
    let mix = mix();
    let total: usize = mix.iter().map(|(share, _)| share).sum();
    let mut due: Vec<f64> = mix
        .iter()
        .map(|(share, _)| total as f64 / *share as f64 / 2.0)
        .collect();
    let mut next = || -> Option<Request> {
        let i = (0..due.len()).min_by(|a, b| due[*a].total_cmp(&due[*b]))?;
        due[i] += total as f64 / mix[i].0 as f64;
        Some(mix[i].1.clone())
    };
    (0..total).filter_map(|_| next()).collect()
}

/// How often each status came; 0 is a connection that failed.
type Tally = BTreeMap<u16, u64>;

fn client(to: SocketAddr, first: usize, until: Instant) -> Tally {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(60)))
        .http_status_as_error(false)
        .build()
        .into();
    let mut tally = Tally::new();
    for request in hundred().iter().cycle().skip(first) {
        if Instant::now() >= until {
            break;
        }
        *tally
            .entry(ask(&agent, to, request).unwrap_or(0))
            .or_default() += 1;
    }
    tally
}

fn ask(agent: &ureq::Agent, to: SocketAddr, request: &Request) -> Result<u16, ureq::Error> {
    let mut answer = match request {
        Request::Get(target) => agent.get(format!("http://{to}{target}")).call()?,
        Request::Post(path, body) => agent
            .post(format!("http://{to}{path}"))
            .content_type("text/xml")
            .send(*body)?,
    };
    std::io::copy(&mut answer.body_mut().as_reader(), &mut std::io::sink())?;
    Ok(answer.status().as_u16())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: u64| {
        arguments
            .get(i)
            .map_or(Some(default), |text| text.parse().ok())
    };
    let address = arguments
        .first()
        .and_then(|text| text.parse::<SocketAddr>().ok());
    let (Some(to), Some(seconds), Some(clients)) = (address, number(1, 10), number(2, 16)) else {
        eprintln!("usage: typical_mix ADDRESS:PORT [SECONDS] [CLIENTS]");
        return ExitCode::from(64);
    };
    let until = Instant::now() + Duration::from_secs(seconds);
    let threads: Vec<_> = (0..clients)
        .map(|n| thread::spawn(move || client(to, n as usize * 7, until)))
        .collect();
    let mut tally = Tally::new();
    for thread in threads {
        for (status, count) in thread.join().expect("a client does not panic") {
            *tally.entry(status).or_default() += count;
        }
    }
    let all: u64 = tally.values().sum();
    println!(
        "{all} requests, {} in a second; by status (0: no answer): {tally:?}",
        all / seconds.max(1)
    );
    if tally.contains_key(&200) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
