//! `geofront demo`: its controls, its naive balancer, and its map page in a real browser.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod client;
mod naive;
mod page;
mod routes;

use geofront::demo::{self, Demo, Options};

/// A demo on ports that the kernel chooses, whose upstreams all serve.
pub(crate) async fn started() -> Demo {
    let any = "127.0.0.1:0".parse().unwrap();
    let options = Options {
        replicas: 3,
        listen: any,
        admin: any,
        map: any,
    };
    let demo = demo::start(options).await.unwrap();
    assert!(demo.is_ready().await, "every upstream serves in time");
    demo
}
