//! The administrator, and the scripts that guides recommend after a change.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use geofront::geosim::{Cluster, Instance};
use http::Method;
use tokio::time::sleep;

use super::client::{Client, Question};
use super::question::{Fault, Read};

/// The user name and the roles under which the administrator works.
pub(crate) const ADMINISTRATOR: &str = "testadmin";
pub(crate) const ADMINISTRATOR_ROLES: &str = "ROLE_ADMINISTRATOR";
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

/// The order in which a script reloads the replicas. Neither order regards what a replica serves
/// meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refresh {
    /// One replica after the other, as geOrchestra's refresh.py does.
    InTurn,
    /// All replicas at the same time, as incron on every replica does.
    AtOnce,
}

/// Reloads every replica over REST, and returns when all have answered.
pub(crate) async fn refresh(cluster: &Cluster, order: Refresh) -> io::Result<()> {
    match order {
        Refresh::InTurn => {
            for replica in cluster.replicas() {
                reload(replica.name().to_owned(), replica.address()).await?;
            }
        }
        Refresh::AtOnce => {
            let reload = |replica: &Instance| {
                tokio::spawn(reload(replica.name().to_owned(), replica.address()))
            };
            let reloads: Vec<_> = cluster.replicas().iter().map(reload).collect();
            for reload in reloads {
                reload.await.map_err(io::Error::other)??;
            }
        }
    }
    Ok(())
}

async fn reload(name: String, address: SocketAddr) -> io::Result<()> {
    let headers = [
        ("sec-roles", "ROLE_ADMINISTRATOR"),
        ("sec-username", "fake_user"),
    ];
    let question = Question {
        method: Method::POST,
        target: "/geoserver/rest/reload?recurse=true",
        headers: &headers,
        body: Bytes::from_static(b"nothing"),
    };
    match Client::new(address, PATIENCE).ask(question).await {
        Ok(answer) if answer.status.is_success() => Ok(()),
        other => Err(io::Error::other(format!("refresh of {name}: {other:?}"))),
    }
}

/// Sends `read` as this user. Returns the fault of the answer, if it has one; an edit count below
/// `oldest` is a fault.
pub(crate) async fn judged_read(
    client: &Client,
    read: &Read,
    user: &str,
    roles: &str,
    oldest: u64,
) -> Option<Fault> {
    let headers = [
        ("sec-username", user),
        ("sec-roles", roles),
        ("content-type", "text/xml"),
    ];
    // A GET without a body has no type.
    let headers = if read.body.is_empty() {
        &headers[..2]
    } else {
        &headers[..]
    };
    let question = Question {
        method: read.method.clone(),
        target: &read.target,
        headers,
        body: Bytes::from_static(read.body.as_bytes()),
    };
    read.judge(&client.ask(question).await, oldest).err()
}
