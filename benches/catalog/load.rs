//! Clients that send requests of all classes without pause, and check every answer.
//!
//! While a new layer exists the clients request it too. The time of a request decides how the
//! layer's absence counts: before the change has reached every replica it is *late*, afterwards it
//! is wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tokio::time::MissedTickBehavior;

use crate::rig::administrator::{ADMINISTRATOR, ADMINISTRATOR_ROLES, judged_read};
use crate::rig::client::Client;
use crate::rig::question::{self, Fault, Read};

/// The time from one request of a client to its next, unless the answer takes longer. Without it, a
/// client with wrong answers would send more requests, because a wrong answer is a quick one.
const PACE: Duration = Duration::from_millis(80);
/// One request of this many is for the new layer.
const NEW_LAYER_EVERY: usize = 3;

/// The facts about the administrator's changes by which clients judge answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stage {
    pub(crate) new_layer: Option<String>,
    /// The change has not reached every replica.
    pub(crate) is_rolling: bool,
    /// Answers from before these edits are wrong.
    pub(crate) oldest_epoch: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) stage: RwLock<Stage>,
    pub(crate) is_over: AtomicBool,
}

/// A request and its result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) sent: Instant,
    /// The request was for a layer whose publication was under way when it was sent.
    pub(crate) is_about_change: bool,
    pub(crate) fault: Option<Fault>,
}

/// Sends requests as user `number` until the end.
pub(crate) async fn send_on(client: Client, number: usize, shared: Arc<Shared>) -> Vec<Sample> {
    let standing = question::standing();
    let user = format!("user{number}");
    let mut samples = Vec::new();
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Each begins at another place in the list, so that all classes are requested at any time.
    for turn in number.. {
        pace.tick().await;
        if shared.is_over.load(Ordering::Relaxed) {
            break;
        }
        let stage = shared.stage.read().clone();
        let of_new = stage
            .new_layer
            .as_deref()
            .filter(|_| turn % NEW_LAYER_EVERY == 0)
            .map(question::of_new);
        let read = match &of_new {
            Some(reads) => &reads[turn / NEW_LAYER_EVERY % reads.len()],
            None => &standing[turn % standing.len()],
        };
        let is_about_change = stage.is_rolling && of_new.is_some();
        samples.push(ask(&client, read, &user, "ROLE_USER", &stage, is_about_change).await);
    }
    samples
}

/// Requests the administrator's new layer until every replica has it.
pub(crate) async fn look_on(client: Client, layer: String, shared: Arc<Shared>) -> Vec<Sample> {
    let mut samples = Vec::new();
    for read in question::of_new(&layer).iter().cycle() {
        let stage = shared.stage.read().clone();
        if !stage.is_rolling || shared.is_over.load(Ordering::Relaxed) {
            break;
        }
        samples.push(
            ask(
                &client,
                read,
                ADMINISTRATOR,
                ADMINISTRATOR_ROLES,
                &stage,
                true,
            )
            .await,
        );
        tokio::time::sleep(LOOKS).await;
    }
    samples
}

/// Interval between two reads of the administrator.
const LOOKS: Duration = Duration::from_millis(50);

async fn ask(
    client: &Client,
    read: &Read,
    user: &str,
    roles: &str,
    stage: &Stage,
    is_about_change: bool,
) -> Sample {
    let sent = Instant::now();
    let fault = judged_read(client, read, user, roles, stage.oldest_epoch).await;
    Sample {
        sent,
        is_about_change,
        fault,
    }
}
