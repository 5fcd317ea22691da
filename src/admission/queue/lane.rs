//! The waiters of one class under the same rules, by user. Users take turns, and each user's oldest
//! request goes first.
//!
//! Turns are numbers in a tree and not users in a ring. So a user that leaves is taken out at once,
//! and a user that cannot go now is passed over without losing its turn.

use std::collections::{BTreeMap, VecDeque};

use super::WaiterId;

/// See the module's documentation. A user has a turn exactly while one of its requests waits.
#[derive(Debug, Default)]
pub(super) struct Lane {
    turns: BTreeMap<u64, u64>,
    users: BTreeMap<u64, Line>,
    next_turn: u64,
}

/// One user's waiters, the oldest first.
#[derive(Debug)]
struct Line {
    turn: u64,
    ids: VecDeque<WaiterId>,
}

/// The next request to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Front {
    pub(super) turn: u64,
    pub(super) id: WaiterId,
}

impl Lane {
    /// Adds a waiter. Its id must be newer than all before.
    pub(super) fn push(&mut self, user: u64, id: WaiterId) {
        let Self {
            turns,
            users,
            next_turn,
        } = self;
        let line = users.entry(user).or_insert_with(|| {
            let turn = take(next_turn);
            turns.insert(turn, user);
            Line {
                turn,
                ids: VecDeque::new(),
            }
        });
        debug_assert!(
            line.ids.back().is_none_or(|newest| *newest < id),
            "ids come in order"
        );
        line.ids.push_back(id);
    }

    /// Returns the next request to be served.
    pub(super) fn front(&self) -> Option<Front> {
        self.turns
            .first_key_value()
            .map(|(turn, user)| self.front_of(*turn, *user))
    }

    /// Returns the request whose turn it is when the one with `turn` cannot go.
    pub(super) fn after(&self, turn: u64) -> Option<Front> {
        self.turns
            .range(turn + 1..)
            .next()
            .map(|(turn, user)| self.front_of(*turn, *user))
    }

    fn front_of(&self, turn: u64, user: u64) -> Front {
        let id = self.users[&user].ids.front();
        Front {
            turn,
            id: *id.expect("a user without waiters has no turn"),
        }
    }

    /// Takes a waiter out. A user that was served has had its turn; one that left has not.
    pub(super) fn remove(&mut self, user: u64, id: WaiterId, was_served: bool) {
        let line = self
            .users
            .get_mut(&user)
            .expect("a request that is removed was waiting");
        let at = line
            .ids
            .binary_search(&id)
            .expect("a request that is removed was waiting");
        line.ids.remove(at);
        if line.ids.is_empty() {
            self.turns.remove(&line.turn);
            self.users.remove(&user);
        } else if was_served {
            self.turns.remove(&line.turn);
            line.turn = take(&mut self.next_turn);
            self.turns.insert(line.turn, user);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Returns the newest waiter of one user, or of all.
    pub(super) fn newest(&self, user: Option<u64>) -> Option<WaiterId> {
        match user {
            Some(user) => self.users.get(&user)?.ids.back().copied(),
            None => self
                .users
                .values()
                .filter_map(|line| line.ids.back().copied())
                .max(),
        }
    }

    /// Returns each user and the number of its waiters.
    pub(super) fn lengths(&self) -> impl Iterator<Item = (u64, usize)> {
        self.users
            .iter()
            .map(|(user, line)| (*user, line.ids.len()))
    }

    pub(super) fn check_invariants(&self) {
        assert!(
            self.turns
                .iter()
                .all(|(turn, user)| self.users[user].turn == *turn),
            "turns and users agree"
        );
        assert_eq!(self.turns.len(), self.users.len(), "one turn for each user");
        assert!(
            self.users.values().all(|line| !line.ids.is_empty()),
            "no user has a turn without a waiter"
        );
        assert!(
            self.users.values().all(|line| line.ids.iter().is_sorted()),
            "a user's oldest is first"
        );
    }
}

fn take(next: &mut u64) -> u64 {
    *next += 1;
    *next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(waiters: &[(u64, u64)]) -> Lane {
        let mut lane = Lane::default();
        waiters
            .iter()
            .for_each(|(user, id)| lane.push(*user, WaiterId(*id)));
        lane
    }

    fn serve_all(mut lane: Lane) -> Vec<u64> {
        let mut served = Vec::new();
        while let Some(front) = lane.front() {
            let (user, _) = lane
                .lengths()
                .find(|(user, _)| lane.users[user].turn == front.turn)
                .unwrap();
            lane.remove(user, front.id, true);
            lane.check_invariants();
            served.push(front.id.0);
        }
        served
    }

    #[test]
    fn users_take_turns_and_each_sends_its_oldest() {
        assert_eq!(
            serve_all(lane(&[(1, 1), (1, 2), (1, 3), (2, 4), (2, 5), (3, 6)])),
            [1, 4, 6, 2, 5, 3]
        );
    }

    #[test]
    fn a_request_that_leaves_keeps_the_turn_for_its_user() {
        let mut lane = lane(&[(1, 1), (1, 2), (2, 3)]);
        lane.remove(1, WaiterId(1), false);
        assert_eq!(serve_all(lane), [2, 3]);
    }

    #[test]
    fn a_user_that_cannot_go_is_passed_over_and_stays_first() {
        let lane = lane(&[(1, 1), (2, 2), (3, 3)]);
        let first = lane.front().unwrap();
        let second = lane.after(first.turn).unwrap();
        assert_eq!((first.id, second.id), (WaiterId(1), WaiterId(2)));
        assert_eq!(lane.front(), Some(first));
    }

    #[test]
    fn the_newest_waiter_is_found_of_all_users_and_of_one() {
        let lane = lane(&[(1, 1), (2, 2), (1, 3), (2, 4)]);
        assert_eq!(
            (
                lane.newest(None),
                lane.newest(Some(1)),
                lane.newest(Some(9))
            ),
            (Some(WaiterId(4)), Some(WaiterId(3)), None)
        );
    }
}
