//! Tests of the destinations of requests of each class, by geosim's own record of the requests that
//! each instance received.

use geofront::geosim::Instance;
use geofront::ogc::RequestClass;

use super::client::get;
use super::requests::{WFS, XML};
use super::rig::{Plan, Rig};

/// Returns the number of requests of clients (not probes) that `instance` has received.
fn received(instance: &Instance) -> usize {
    instance
        .requests()
        .iter()
        .filter(|request| request.header("via").is_some())
        .count()
}

/// Which instances the request of `bytes` reached: the main, the replica.
async fn reached(rig: &Rig, bytes: &[u8]) -> (bool, bool) {
    let before = (received(&rig.main), received(&rig.replicas[0]));
    drop(rig.client().await.request(bytes).await);
    (
        received(&rig.main) > before.0,
        received(&rig.replicas[0]) > before.1,
    )
}

fn post(target: &str, content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\nContent-Length: {length}"
    );
    format!("{head}\r\n\r\n{body}").into_bytes()
}

const ENVELOPE_11: &str = r#"<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><GetFeature service="WFS"/></e:Body>"#;
const BODY_12: &str = r#"<s:Body xmlns:s="http://www.w3.org/2003/05/soap-envelope"><Transaction service="WFS"/></s:Body></e:Envelope>"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_reaches_no_replica_however_it_is_written() {
    let rig = Plan::replicas(1).start().await;
    for target in [
        "/geoserver/kml/icon?service=WPS&request=Execute&identifier=gs:Import",
        "/geoserver/geor/kml/icon?service=WFS&request=LockFeature&typeName=geor:public_layer",
        "/geoserver/kml/icon/point?service=WFS&request=Transaction",
        "/geoserver/%67wc/service/gmaps/wfs?request=Transaction",
        "/geoserver//gwc/service/wmts/wfs?request=GetFeature&lockId=1",
        "/geoserver/ogc/wfs?request=Transaction",
        "/geoserver/geor/public_layer/a/wfs?request=DropStoredQuery&storedQuery_id=x",
        "/geoserver/gsr/relationships/geor/delete/1",
        "/geoserver/ogc/processes/v1/processes/gs:Buffer/execution",
    ] {
        assert_eq!(
            reached(&rig, get(target).as_bytes()).await,
            (true, false),
            "{target}"
        );
    }
    let padding = "x".repeat(9_000);
    let late_body = format!("{ENVELOPE_11}<a>{padding}</a>{BODY_12}");
    let late_store = format!(
        r#"<GetCoverage service="WCS" version="1.1.1"><Identifier>{padding}</Identifier><Output store="true"/></GetCoverage>"#
    );
    let hidden_store =
        r#"<GetCoverage service="WCS" version="1.1.1"><Output store="tru&#101;"/></GetCoverage>"#;
    for (target, content_type, body) in [
        (WFS, "application/soap+xml", late_body.as_str()),
        ("/geoserver/wcs", XML, late_store.as_str()),
        ("/geoserver/wcs", XML, hidden_store),
        (
            "/geoserver/ogc/stac/v1/collections",
            "application/json",
            "{}",
        ),
    ] {
        assert_eq!(
            reached(&rig, &post(target, content_type, body)).await,
            (true, false),
            "{target} {content_type}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_looks_like_a_write_goes_to_a_replica_first() {
    let rig = Plan::replicas(1).start().await;
    let korean = r#"<?xml version="1.0" encoding="EUC-KR"?><GetFeature service="WFS"><Query typeName="geor:public_layer"/></GetFeature>"#;
    for (target, content_type, body) in [
        ("/geoserver/ogc/stac/v1/search", "application/json", "{}"),
        (
            "/geoserver/ogc/features/v1/collections/geor:public_layer/search",
            "application/json",
            "{}",
        ),
        (WFS, XML, korean),
    ] {
        assert!(
            reached(&rig, &post(target, content_type, body)).await.1,
            "{target}"
        );
    }
    for target in [
        "/geoserver/gwc/service/wmts/rest/geor:public_layer/tilejson/pbf",
        "/geoserver/ogc/processes/v1/processes",
        "/geoserver/gsr/services?f=json",
        "/geoserver/oseo/search",
        "/geoserver/wms?service=WMS&version=1.1.1&request=GetCapabilities&%EC%9D%B4%EB%A6%84=1",
    ] {
        assert!(reached(&rig, get(target).as_bytes()).await.1, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_go_where_the_other_methods_of_their_path_go() {
    let rig = Plan::replicas(1).start().await;
    for (target, expected) in [
        ("/geoserver/rest/workspaces", (true, false)),
        ("/geoserver/web/", (true, false)),
        (
            "/geoserver/wfs?service=WFS&request=Transaction",
            (false, true),
        ),
        (
            "/geoserver/ogc/features/v1/collections/a/items",
            (false, true),
        ),
    ] {
        let request =
            format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\nOrigin: https://a.example\r\n\r\n");
        assert_eq!(
            reached(&rig, request.as_bytes()).await,
            expected,
            "{target}"
        );
    }
}

/// A document that runs `process` on the features that `input` gives.
fn execute(process: &str, input: &str) -> String {
    format!(
        r#"<wps:Execute service="WPS" version="1.0.0" xmlns:wps="http://www.opengis.net/wps/1.0.0" xmlns:ows="http://www.opengis.net/ows/1.1" xmlns:xlink="http://www.w3.org/1999/xlink"><ows:Identifier>{process}</ows:Identifier><wps:DataInputs>{input}</wps:DataInputs></wps:Execute>"#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_may_change_the_catalog_reaches_no_replica_where_replicas_run_processes() {
    let rig = Plan::replicas(1)
        .with("[classes.process]\nserved_by = \"replicas\"")
        .start()
        .await;
    let chained = format!(
        r#"<wps:Input><wps:Reference xlink:href="http://geoserver/wps"><wps:Body>{}</wps:Body></wps:Reference></wps:Input>"#,
        execute("gs:Import", "")
    );
    let wps = "/geoserver/wps";
    for (body, is_for_main) in [
        (execute("gs:Import", ""), true),
        (execute("gs:Clip", &chained), true),
        (execute("gs:Im<!-- -->port", ""), true),
        (execute("gs:Clip", &"<!-- long -->".repeat(2_000)), false),
        (execute("gs:Clip", &"x".repeat(3 << 20)), true),
    ] {
        assert_eq!(
            reached(&rig, &post(wps, XML, &body)).await,
            (is_for_main, !is_for_main),
            "{}",
            &body[..300.min(body.len())]
        );
    }
    for (target, is_for_main) in [
        ("/geoserver/wps?request=Execute&identifier=gs:Import", true),
        ("/geoserver/wps?request=Execute&identifier=gs:Buffer", false),
        (
            "/geoserver/ogc/processes/v1/processes/gs:Import/execution",
            true,
        ),
        (
            "/geoserver/ogc/processes/v1/processes/gs:Buffer/execution",
            false,
        ),
    ] {
        assert_eq!(
            reached(&rig, get(target).as_bytes()).await,
            (is_for_main, !is_for_main),
            "{target}"
        );
    }
    let write = post(
        "/geoserver/ogc/./processes/v1/jobs;x",
        "application/json",
        "{}",
    );
    assert_eq!(reached(&rig, &write).await, (true, false));
}

/// The main does one thing at a time, and a download takes all day.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lists_of_my_map_do_not_wait_behind_a_download_of_somebody_else() {
    let rig = Plan::replicas(1)
        .with("[classes.process]\nshort = [\"gs:PagedUnique\"]")
        .with("[limits]\nmax_in_flight = 1\nqueue_timeout = \"200ms\"")
        .start()
        .await;
    let wps = "/geoserver/wps?service=WPS&version=1.0.0&request=Execute&identifier=";
    let mut downloading = rig.client().await;
    let download = format!("{wps}gs:Download&geosim_work=86400s");
    downloading.send(get(&download).as_bytes()).await.unwrap();
    rig.until("the main is busy", |rig| rig.main.control().in_flight() > 0)
        .await;
    let list = rig.get(&format!("{wps}gs:PagedUnique")).await;
    assert_eq!((list.status, list.served_by()), (200, "slave1"));
    let body = execute("gs:PagedUnique", "");
    let list = rig.request(&post("/geoserver/wps", XML, &body)).await;
    assert_eq!((list.status, list.served_by()), (200, "slave1"));
    let received = rig.replicas[0].received(RequestClass::Process);
    assert_eq!(received, 2);
    let chained = execute(
        "gs:PagedUnique",
        &format!(
            "<wps:Input><ows:Identifier>features</ows:Identifier><wps:Reference xlink:href=\"http://geoserver/wps\"><wps:Body>{}</wps:Body></wps:Reference></wps:Input>",
            execute("gs:Download", "")
        ),
    );
    let stored = format!("{wps}gs:PagedUnique&storeExecuteResponse=true&status=true");
    for request in [
        post("/geoserver/wps", XML, &chained),
        get(&stored).into_bytes(),
    ] {
        assert_eq!(
            rig.request(&request).await.status,
            503,
            "it waits for the main"
        );
    }
    assert_eq!(rig.replicas[0].received(RequestClass::Process), received);
}
