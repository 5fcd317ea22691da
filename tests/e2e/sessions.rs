//! Sessions of GeoServer's web interface, which are on the main, and logins.

use geofront::geosim::Fault;
use geofront::ogc::RequestClass;

use super::client::{Answer, get};
use super::requests::MAP;
use super::rig::{Plan, Rig};

/// A map with a session of the replica and a cookie of another kind.
const MAP_WITH_SESSION: &str = "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nSet-Cookie: JSESSIONID=REPLICA; Path=/geoserver\r\n\
    Set-Cookie: lang=fr\r\nContent-Length: 8\r\n\r\n\x7fPNG\r\n\x1a\n";

const REDIRECT_WITH_SESSION: &str = "HTTP/1.1 302 Found\r\nLocation: /geoserver/wms;jsessionid=REPLICA?a=b\r\nContent-Length: 0\r\n\r\n";

fn cookies(answer: &Answer) -> Vec<&str> {
    answer
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"))
        .map(|(_, value)| value.as_str())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_a_replica_sets_never_replaces_that_of_the_main() {
    let rig = Plan::replicas(1).start().await;
    rig.replicas[0].suffers(
        Fault::Raw(MAP_WITH_SESSION)
            .only(RequestClass::Map)
            .under("/geoserver/wms"),
    );
    assert_eq!(cookies(&rig.get(MAP).await), ["lang=fr"]);
    rig.replicas[0].heals();
    rig.replicas[0].suffers(Fault::Raw(REDIRECT_WITH_SESSION).only(RequestClass::Static));
    let redirected = rig.get("/geoserver/www/a").await;
    assert_eq!(redirected.header("location"), Some("/geoserver/wms?a=b"));

    let page = rig.get("/geoserver/web/").await;
    assert!(
        cookies(&page)
            .iter()
            .any(|cookie| cookie.starts_with("JSESSIONID=")),
        "{page:?}"
    );
}

/// The requests of clients for `target` that reached the main and the replica.
fn received(rig: &Rig, target: &str) -> (usize, usize) {
    let count = |instance: &geofront::geosim::Instance| {
        let requests = instance.requests();
        requests
            .iter()
            .filter(|request| request.target() == target.as_bytes())
            .count()
    };
    (count(&rig.main), count(&rig.replicas[0]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proof_of_a_login_reaches_the_main_once_and_no_replica() {
    let rig = Plan::replicas(1).start().await;
    rig.main
        .suffers(Fault::Close.under("/geoserver/login/oauth2"));
    rig.main
        .suffers(Fault::Close.only(RequestClass::Map).under("/geoserver/wms"));
    for target in [
        format!("{MAP}&ticket=ST-1"),
        "/geoserver/login/oauth2/code/oidc?code=a&state=b".to_owned(),
        "/geoserver/oauth2/authorization/oidc".to_owned(),
    ] {
        // A connection to the main that is kept alive must not be the reason for a repetition.
        rig.get("/geoserver/web/").await;
        rig.get(&target).await;
        assert_eq!(received(&rig, &target), (1, 0), "{target}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_read_is_repeated_where_a_kept_connection_ends_and_an_ambiguous_one_is_not() {
    let rig = Plan::replicas(1).start().await;
    let unknown = "/geoserver/an-extension/read";
    let mut client = rig.client().await;
    let usual = client.get(unknown).await.unwrap().status;
    rig.main.suffers(Fault::Close.under(unknown).times(1));
    assert_eq!(client.get(unknown).await.unwrap().status, usual);
    assert_eq!(received(&rig, unknown).0, 3);

    let ambiguous = "/geoserver/an-extension/x/../read";
    client.get(ambiguous).await.unwrap();
    rig.main
        .suffers(Fault::Close.under("/geoserver/an-extension").times(1));
    assert_eq!(
        client
            .request(get(ambiguous).as_bytes())
            .await
            .unwrap()
            .status,
        502
    );
    assert_eq!(received(&rig, ambiguous).0, 2);
}
