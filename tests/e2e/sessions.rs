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

/// A map by way of a workspace, and a client that is logged in.
const SECURED: &str = "/geoserver/geor/wms?service=WMS&version=1.1.1&request=GetMap&layers=public_layer&styles=&bbox=-180,-90,180,90&width=64&height=64&srs=EPSG:4326&format=image/png";

async fn with_session(rig: &Rig, target: &str) -> Answer {
    let head = get(target).replacen("\r\n", "\r\nCookie: JSESSIONID=A1\r\n", 1);
    rig.request(head.as_bytes()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preview_that_replicas_refuse_to_a_session_comes_from_the_main() {
    let rig = Plan::replicas(1).start().await;
    rig.replicas[0].suffers(Fault::Status(401).under("/geoserver/geor/wms"));
    assert_eq!(rig.get(SECURED).await.status, 401, "it has no session");
    assert_eq!(received(&rig, SECURED), (0, 1));

    assert_eq!(with_session(&rig, SECURED).await.status, 200);
    assert_eq!(received(&rig, SECURED), (1, 2), "a second opinion");
    assert_eq!(with_session(&rig, SECURED).await.status, 200);
    assert_eq!(received(&rig, SECURED), (2, 2), "the main at once");
    assert_eq!(rig.get(SECURED).await.status, 401);
    assert_eq!(
        received(&rig, SECURED),
        (2, 3),
        "other clients are not affected"
    );

    // Maps of public layers stay on the replicas, for the same session too.
    let public = MAP.replace("geor:public_layer", "topp:other");
    with_session(&rig, &public).await;
    assert_eq!(received(&rig, &public).1, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_that_only_a_session_sees_is_no_proof_that_a_replica_is_stale() {
    let rig = Plan::replicas(1).start().await;
    let hidden = "<ServiceExceptionReport version=\"1.1.1\"><ServiceException code=\"LayerNotDefined\" locator=\"layers\">Could not find layer geor:public_layer</ServiceException></ServiceExceptionReport>";
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.ogc.se_xml\r\nContent-Length: {}\r\n\r\n{hidden}",
        hidden.len()
    );
    rig.replicas[0].suffers(Fault::Raw(answer.leak()).under("/geoserver/geor/wms"));
    for _ in 0..3 {
        let map = with_session(&rig, SECURED).await;
        assert!(map.body.starts_with(b"\x89PNG"), "{}", map.text());
    }
    assert_eq!(received(&rig, SECURED), (3, 1));
    assert!(rig.upstreams().iter().all(|upstream| upstream.eligible));
    assert_eq!(rig.replicas[0].control().catalog_reloads(), 0);
}
