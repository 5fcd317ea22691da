//! The naive balancer, which the demo shows for comparison.

use super::client::{TILE, get, post, send};
use super::started;

#[tokio::test(flavor = "multi_thread")]
async fn round_robin_goes_to_each_replica_in_turn() {
    let demo = started().await;
    let mut drawn = Vec::new();
    for number in 0..6 {
        let tile = get(demo.addresses.naive, &format!("{TILE}&n={number}")).await;
        assert!(tile.is_image(), "{tile:?}");
        drawn.push(tile.upstream().unwrap().to_owned());
    }
    assert_eq!(drawn[..3], drawn[3..]);
    drawn.truncate(3);
    drawn.sort();
    assert_eq!(drawn, ["slave1", "slave2", "slave3"]);
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn round_robin_passes_on_the_faults_that_geofront_hides() {
    let demo = started().await;
    let at = demo.addresses;
    post(at.map, "/demo/replicas/slave1/poison").await;
    post(at.map, "/demo/replicas/slave2/crash").await;
    let (mut wrong, mut failed) = (0, 0);
    for number in 0..6 {
        let path = format!("{TILE}&n={number}");
        let naive = get(at.naive, &path).await;
        wrong += usize::from(naive.status == 200 && naive.body.contains("OutOfMemoryError"));
        failed += usize::from(naive.status == 502);
        assert_eq!(naive.field("access-control-allow-origin"), Some("*"));
        let tile = get(at.front, &path).await;
        assert!(tile.is_image(), "{tile:?}");
    }
    assert_eq!((wrong, failed), (2, 2));
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn round_robin_passes_no_writes() {
    let demo = started().await;
    for method in ["POST", "PUT", "DELETE"] {
        let answer = send(demo.addresses.naive, method, "/geoserver/rest/reload", "").await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(
            answer.body.contains("passes GET and HEAD only"),
            "{answer:?}"
        );
    }
    let reloads = demo
        .cluster
        .replicas()
        .map(|replica| replica.control().catalog_reloads());
    assert_eq!(reloads.sum::<u64>(), 0);
    demo.stop().await;
}
