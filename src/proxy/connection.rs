//! A deadline for the whole request head.
//!
//! Pingora's own limits are per read: a client that sends one byte a second keeps a connection for ever (slowloris). Around
//! each request we set one deadline that ends when the head is complete; the proxy says so from
//! `ProxyHttp::on_connection_reuse`, the first hook that runs after it. On a kept-alive connection the wait for the
//! next request counts too, so the deadline is the sum of both limits.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use tokio::sync::Notify;

use super::FrontDoor;

/// Passed through Pingora's per-connection context to the first hook that runs after the head: told when it is complete.
#[derive(Debug)]
pub(super) struct HeadGuard(Arc<Notify>);

/// Passed from a request to the next one on its connection.
#[derive(Debug)]
pub(super) struct KeptAlive;

impl HeadGuard {
    /// The head is complete: the deadline is off.
    pub(super) fn complete(&self) {
        // A permit is stored, so the order of this and the wait does not matter.
        self.0.notify_one();
    }
}

/// The Pingora application: the proxy with a deadline around each request head.
pub struct GuardedProxy {
    proxy: Arc<HttpProxy<FrontDoor>>,
    front_door: FrontDoor,
}

impl GuardedProxy {
    pub fn new(proxy: HttpProxy<FrontDoor>, front_door: FrontDoor) -> Self {
        Self { proxy: Arc::new(proxy), front_door }
    }

    /// How long the next head may take.
    fn limit(&self, is_kept_alive: bool) -> Duration {
        let timeouts = &self.front_door.config().timeouts;
        if is_kept_alive { timeouts.keep_alive + timeouts.client_header } else { timeouts.client_header }
    }
}

#[async_trait]
impl HttpServerApp for GuardedProxy {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let is_kept_alive = session.take_connection_user_context().is_some_and(|context| context.is::<KeptAlive>());
        let limit = self.limit(is_kept_alive);
        let head_complete = Arc::new(Notify::new());
        session.set_connection_user_context(Some(Box::new(HeadGuard(Arc::clone(&head_complete)))));

        let request = self.proxy.process_new_http(session, shutdown);
        tokio::pin!(request);
        tokio::select! {
            biased;
            ended = &mut request => return ended,
            () = head_complete.notified() => {}
            () = tokio::time::sleep(limit) => return None,
        }
        request.await
    }

    async fn http_cleanup(&self) {
        self.proxy.http_cleanup().await;
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.proxy.server_options()
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.proxy.h2_options()
    }
}
