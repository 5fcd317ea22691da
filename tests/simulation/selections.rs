//! The checks of a selection: the upstream is the right one, and so are its limit and its trial.

use geofront::cluster::{NoUpstream, Selection};
use geofront::config::MaxInFlight;
use geofront::ogc::RequestClass;

use crate::ledger::Key;
use crate::oracle::{Belongs, Oracle, Tier, costs_at_most};
use crate::places::Kind;
use crate::requests::Request;
use crate::world::World;

impl World {
    /// Checks a selection against the oracle, which was taken before it. Returns the events to
    /// count.
    pub(crate) fn judge(
        &self,
        oracle: &Oracle<'_>,
        request: &Request,
        may_join: bool,
        selected: &Result<Selection, NoUpstream>,
    ) -> Vec<&'static str> {
        let belongs = oracle.belongs(request);
        let metatile = request
            .metatile
            .filter(|_| self.config.classes[request.class].affinity.is_some());
        let companions = match metatile.filter(|_| may_join) {
            Some(metatile) => {
                oracle.full_companions(request, |key| self.has_companions(key, metatile))
            }
            None => Vec::new(),
        };
        let selection = match selected {
            Ok(selection) => selection,
            Err(why) => {
                assert_eq!(belongs, Belongs::Nowhere(*why), "no false refusal");
                return vec![match why {
                    NoUpstream::NoneEligible => "refused: none eligible",
                    NoUpstream::AllTried => "refused: all tried",
                    NoUpstream::Full => "every upstream full",
                    NoUpstream::NoVerdict => "no verdict yet",
                }];
            }
        };
        let key = (
            selection.upstream.name.to_string(),
            selection
                .upstream
                .address
                .known()
                .expect("simulated upstreams have addresses"),
        );
        self.judge_cap(&key, request, selection);
        if companions.contains(&key) {
            return vec!["a tile with its companions above the cap"];
        }
        let mut happened = judge_place(
            oracle,
            request,
            &belongs,
            (&key, selection),
            metatile.is_some(),
        );
        if let (
            Belongs::Any {
                keys,
                tier: Tier::Fresh | Tier::Stale | Tier::Mixed,
            },
            Some(metatile),
        ) = (&belongs, metatile)
        {
            happened.extend(self.judge_tile(oracle, metatile, &key, (keys, &companions)));
        }
        happened
    }

    /// Checks which attempts are samples for a learned limit: all but heavy ones and administration
    /// where the limit is learned.
    fn judge_cap(&self, key: &Key, request: &Request, selection: &Selection) {
        let (kind, configured) = (request.kind(&self.config), self.config.upstreams.iter());
        let is_auto = configured
            .filter(|upstream| upstream.max_in_flight == MaxInFlight::Auto)
            .any(|u| u.name.as_str() == key.0);
        assert_eq!(
            selection.teaches_cap,
            is_auto && matches!(kind, Kind::Quick | Kind::Ordinary),
            "{key:?}: {kind:?}"
        );
        assert_eq!(
            selection.lease.is_heavy(),
            kind == Kind::Heavy,
            "{key:?}: {kind:?}"
        );
    }
}

/// Checks that the request went where it belongs. Returns the events to count.
fn judge_place(
    oracle: &Oracle<'_>,
    request: &Request,
    belongs: &Belongs,
    (key, selection): (&Key, &Selection),
    has_affinity: bool,
) -> Vec<&'static str> {
    let is_capabilities = request.class == RequestClass::Capabilities;
    let is_trial = matches!(belongs, Belongs::Trial(_));
    assert_eq!(
        selection.lease.is_trial(),
        is_trial,
        "{belongs:?}: a trial is marked as one"
    );
    match belongs {
        Belongs::There(place) => {
            assert_eq!(key, place, "a class of one place goes there");
            vec![if request.from_main {
                "the author of a change sees it"
            } else {
                "a main-only request was selected for"
            }]
        }
        Belongs::Trial(keys) => {
            assert!(keys.contains(key), "{key:?} is not on trial: {belongs:?}");
            vec![if request.is_retry() {
                "a trial by a retry"
            } else {
                "a trial"
            }]
        }
        Belongs::Any { keys, tier } => {
            assert!(keys.contains(key), "{key:?} must not serve: {belongs:?}");
            let (chosen, others) = (oracle.of(key), keys.iter().map(|key| oracle.of(key)));
            if !has_affinity {
                others.for_each(|other| {
                    assert!(
                        costs_at_most(chosen, other),
                        "{chosen:?} costs more than {other:?}"
                    )
                });
            }
            let ramps_up = keys
                .iter()
                .any(|key| oracle.of(key).effective_weight != oracle.of(key).weight);
            let all = [
                (true, "a request was selected for"),
                (*tier == Tier::Backup, "the backup served"),
                (*tier == Tier::Main, "capabilities from the main"),
                (
                    *tier == Tier::Stale && is_capabilities,
                    "capabilities from stale ones",
                ),
                (
                    matches!(tier, Tier::Stale | Tier::Mixed) && !is_capabilities,
                    "stale ones served",
                ),
                (
                    *tier == Tier::Fresh && oracle.upstreams().any(|s| !s.catalog.is_fresh),
                    "a fresh one served while others were stale",
                ),
                (keys.len() > 1, "a choice between several"),
                (
                    keys.len() > 1 && ramps_up,
                    "a choice while an upstream ramps up",
                ),
            ];
            all.into_iter()
                .filter_map(|(happened, what)| happened.then_some(what))
                .collect()
        }
        Belongs::Nowhere(why) => panic!("{key:?} must not serve: {why:?}"),
    }
}
