//! Sessions of the web interface: in the memory of one instance, each with the pages its browser
//! has seen.

use std::collections::HashMap;

use parking_lot::Mutex;

/// The most sessions, far more than a test has browsers. Beyond this number all are forgotten.
const MAX_SESSIONS: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// The number of the next page, by session.
    pages: Mutex<HashMap<String, u32>>,
}

impl Sessions {
    pub(super) fn open(&self, number: u64) -> String {
        let id = format!("{number:016X}.geosim");
        let mut pages = self.pages.lock();
        if pages.len() == MAX_SESSIONS {
            pages.clear();
        }
        pages.insert(id.clone(), 0);
        id
    }

    pub(super) fn knows(&self, id: &str) -> bool {
        self.pages.lock().contains_key(id)
    }

    /// The page number that a new page of this session gets.
    pub(super) fn next_page(&self, id: &str) -> Option<u32> {
        let mut pages = self.pages.lock();
        let page = pages.get_mut(id)?;
        *page += 1;
        Some(*page - 1)
    }

    /// Whether this session has been given this page.
    pub(super) fn has_page(&self, id: &str, page: u32) -> bool {
        self.pages.lock().get(id).is_some_and(|next| page < *next)
    }
}
