//! Tests of the state that GeoServer keeps in the memory of one instance, unknown to all others:
//! feature locks and background processes. The database, in contrast, is shared by all instances.

use geofront::geosim::{BASIC, Cluster, Instance};
use geofront::ogc::RequestClass;

use crate::client::{Reply, XML, as_admin, get, post, start, try_send};

const LOCK: &str =
    "/geoserver/wfs?service=WFS&version=1.1.0&request=LockFeature&typeName=geor:roads&expiry=10";
const EXECUTE: &str =
    "/geoserver/ows?service=WPS&version=1.0.0&request=Execute&identifier=gs:Export";

/// The value of the first attribute of this name.
fn attribute(reply: &Reply, name: &str) -> String {
    let text = reply.text();
    let (_, rest) = text
        .split_once(&format!(" {name}=\""))
        .unwrap_or_else(|| panic!("no {name} in {text}"));
    rest.split('"').next().unwrap().replace("&amp;", "&")
}

fn transact(instance: &Instance, lock: &str) -> Reply {
    let body = format!(
        "<wfs:Transaction service=\"WFS\" version=\"1.1.0\" {lock} xmlns:wfs=\"http://www.opengis.net/wfs\">\
         <wfs:Insert><geor:roads xmlns:geor=\"http://localhost/geor\"/></wfs:Insert></wfs:Transaction>"
    );
    post(instance, "/geoserver/wfs", &[XML], &body)
}

fn is_unknown_lock(reply: &Reply) -> bool {
    reply.text().contains("Attempting to use a lockID that does not exist, it has either expired or was entered wrong.")
}

#[test]
fn a_feature_lock_is_known_to_the_instance_that_gave_it_and_to_no_other() {
    let cluster = Cluster::start(1);
    let lock = format!(
        "lockId=\"{}\"",
        attribute(&get(cluster.main(), LOCK), "lockId")
    );
    assert!(is_unknown_lock(&transact(cluster.replica(1), &lock)));
    assert!(
        transact(cluster.main(), &lock)
            .text()
            .contains("<wfs:totalInserted>1<")
    );
    let writes: Vec<_> = cluster
        .data()
        .writes()
        .into_iter()
        .map(|write| (write.by, write.what))
        .collect();
    assert_eq!(
        writes,
        [
            ("main".to_owned(), "LockFeature".to_owned()),
            ("main".to_owned(), "Transaction".to_owned())
        ]
    );
}

/// All transactions must therefore go to one instance.
#[test]
fn a_transaction_that_names_no_lock_passes_where_the_lock_is_unknown() {
    let cluster = Cluster::start(1);
    get(cluster.main(), LOCK);
    assert!(
        transact(cluster.replica(1), "")
            .text()
            .contains("<wfs:totalInserted>1<")
    );
}

#[test]
fn features_may_be_read_and_locked_at_once() {
    let main = start();
    let target = "/geoserver/wfs?service=WFS&version=2.0.0&request=GetFeatureWithLock&typeNames=geor:roads&count=2";
    let reply = get(&main, target);
    assert!(reply.is_well_formed_xml() && reply.text().contains("numberReturned=\"2\""));
    let lock = format!("lockId=\"{}\"", attribute(&reply, "lockId"));
    assert!(!is_unknown_lock(&transact(&main, &lock)));
    assert_eq!(main.received(RequestClass::Transaction), 2);
}

#[test]
fn a_lock_ends_when_it_is_released_and_with_the_life_of_its_instance() {
    let main = start();
    let (released, lost) = (
        attribute(&get(&main, LOCK), "lockId"),
        attribute(&get(&main, LOCK), "lockId"),
    );
    let release =
        format!("/geoserver/wfs?service=WFS&version=1.1.0&request=ReleaseLock&lockId={released}");
    assert!(get(&main, &release).text().contains("ReleaseLockResponse"));
    assert!(is_unknown_lock(&get(&main, &release)));
    main.kill();
    main.restart();
    assert!(is_unknown_lock(&transact(
        &main,
        &format!("lockId=\"{lost}\"")
    )));
}

#[test]
fn features_inserted_by_a_transaction_are_in_the_database_of_all_instances() {
    let cluster = Cluster::start(1);
    let hits = "/geoserver/wfs?service=WFS&version=2.0.0&request=GetFeature&typeNames=geor:roads&resultType=hits";
    assert_eq!(
        attribute(&get(cluster.replica(1), hits), "numberMatched"),
        "12000"
    );
    transact(cluster.main(), "");
    assert_eq!(
        attribute(&get(cluster.replica(1), hits), "numberMatched"),
        "12001"
    );
}

#[test]
fn a_background_process_is_known_to_the_instance_that_runs_it_and_to_no_other() {
    let cluster = Cluster::start(1);
    let accepted = get(
        cluster.main(),
        &format!("{EXECUTE}&storeExecuteResponse=true&status=true"),
    );
    assert!(accepted.text().contains("ProcessAccepted"), "{accepted:?}");
    let location = attribute(&accepted, "statusLocation");
    let status = location
        .strip_prefix(&cluster.main().url())
        .expect("it points to the host that was asked");
    assert!(
        get(cluster.replica(1), status)
            .text()
            .contains("Unknown execution id")
    );
    assert!(
        get(cluster.main(), status)
            .text()
            .contains("ProcessSucceeded")
    );
    let dismiss = status.replace("GetExecutionStatus", "Dismiss");
    assert!(
        get(cluster.replica(1), &dismiss)
            .text()
            .contains("Unknown execution id")
    );
    assert!(
        get(cluster.main(), &dismiss)
            .text()
            .contains("ProcessSucceeded")
    );
    assert!(
        get(cluster.main(), status)
            .text()
            .contains("Unknown execution id")
    );
}

#[test]
fn a_process_that_is_waited_for_leaves_no_status_behind() {
    let main = start();
    let body = "<wps:Execute service=\"WPS\" version=\"1.0.0\" xmlns:wps=\"http://www.opengis.net/wps/1.0.0\" \
        xmlns:ows=\"http://www.opengis.net/ows/1.1\"><ows:Identifier>gs:Buffer</ows:Identifier></wps:Execute>";
    let reply = post(&main, "/geoserver/wps", &[XML], body);
    assert!(
        reply.text().contains("<ows:Identifier>gs:Buffer<")
            && reply.text().contains("ProcessSucceeded"),
        "{reply:?}"
    );
    assert!(!reply.text().contains("statusLocation"));
    assert_eq!(main.data().writes()[0].what, "Execute");
}

/// The same number is another import on another instance.
#[test]
fn the_importer_counts_from_zero_on_every_instance() {
    let cluster = Cluster::start(1);
    let begin = |instance: &Instance| {
        as_admin(
            instance,
            "POST",
            "/geoserver/rest/imports",
            "{\"import\": {}}",
        )
    };
    for number in 0..2 {
        let reply = begin(cluster.main());
        assert_eq!(
            (reply.status, reply.json()["import"]["id"].as_u64()),
            (201, Some(number))
        );
    }
    let second =
        |instance: &Instance| as_admin(instance, "GET", "/geoserver/rest/imports/1", "").status;
    assert_eq!(second(cluster.replica(1)), 404);
    assert_eq!(begin(cluster.replica(1)).json()["import"]["id"], 0);
    assert_eq!(second(cluster.main()), 200);
    cluster.main().kill();
    cluster.main().restart();
    let listed = try_send(
        cluster.main(),
        "GET",
        "/geoserver/rest/imports",
        &[("Authorization", BASIC)],
        "",
    )
    .unwrap();
    assert_eq!(
        listed.json()["imports"].as_array().unwrap().len(),
        0,
        "they were in memory"
    );
}
