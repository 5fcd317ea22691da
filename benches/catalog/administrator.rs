//! The administrator, and what guides tell to run after him.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use geofront::geosim::Cluster;
use http::Method;
use tokio::time::sleep;

use crate::load::{ADMINISTRATOR, ADMINISTRATOR_ROLES};
use crate::rig::client::{Client, Question};

/// For a reload of the largest catalogs.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between two writes of one publication: a script, or a quick hand.
const BETWEEN_WRITES: Duration = Duration::from_millis(250);

/// A write by REST, which must be done.
async fn write(client: &Client, method: Method, target: &str, body: &str) -> io::Result<()> {
    let headers = [
        ("sec-username", ADMINISTRATOR),
        ("sec-roles", ADMINISTRATOR_ROLES),
        ("content-type", "application/json"),
    ];
    let body = Bytes::copy_from_slice(body.as_bytes());
    match client
        .ask(Question {
            method,
            target,
            headers: &headers,
            body,
        })
        .await
    {
        Ok(answer) if answer.status.is_success() => Ok(()),
        other => Err(io::Error::other(format!(
            "the administrator's {target}: {other:?}"
        ))),
    }
}

/// Publishes `geor:NAME` through the front door, in four writes; the last has been answered when
/// this returns.
pub(crate) async fn publish(client: &Client, name: &str) -> io::Result<()> {
    let writes = [
        (
            Method::POST,
            "/geoserver/rest/workspaces/geor/datastores".to_owned(),
            format!("{{\"dataStore\":{{\"name\":\"{name}\"}}}}"),
        ),
        (
            Method::POST,
            "/geoserver/rest/styles".to_owned(),
            format!("{{\"style\":{{\"name\":\"{name}\"}}}}"),
        ),
        (
            Method::POST,
            format!("/geoserver/rest/workspaces/geor/datastores/{name}/featuretypes"),
            format!("{{\"featureType\":{{\"name\":\"{name}\"}}}}"),
        ),
        (
            Method::PUT,
            format!("/geoserver/rest/workspaces/geor/layers/{name}"),
            "{\"layer\":{}}".to_owned(),
        ),
    ];
    for (number, (method, target, body)) in writes.into_iter().enumerate() {
        if number > 0 {
            sleep(BETWEEN_WRITES).await;
        }
        write(client, method, &target, &body).await?;
    }
    Ok(())
}

/// `count` writes, evenly over `lasts`.
pub(crate) async fn write_often(client: &Client, count: u32, lasts: Duration) -> io::Result<()> {
    let mut due = tokio::time::interval(lasts / count);
    for _ in 0..count {
        due.tick().await;
        write(
            client,
            Method::PUT,
            "/geoserver/rest/styles/generic",
            "{\"style\":{\"name\":\"generic\"}}",
        )
        .await?;
    }
    Ok(())
}

/// What geOrchestra's guide calls refresh.py: each replica reloads in turn, whatever it serves
/// meanwhile.
pub(crate) async fn refresh(cluster: &Cluster) -> io::Result<()> {
    for replica in cluster.replicas() {
        let client = Client::new(replica.address(), PATIENCE);
        let headers = [
            ("sec-roles", "ROLE_ADMINISTRATOR"),
            ("sec-username", "fake_user"),
        ];
        let body = Bytes::from_static(b"nothing");
        let target = "/geoserver/rest/reload?recurse=true";
        match client
            .ask(Question {
                method: Method::POST,
                target,
                headers: &headers,
                body,
            })
            .await
        {
            Ok(answer) if answer.status.is_success() => {}
            other => {
                return Err(io::Error::other(format!(
                    "refresh of {}: {other:?}",
                    replica.name()
                )));
            }
        }
    }
    Ok(())
}
