//! `[clients]`.

use super::check::Check;
use crate::config::diagnostics::Problem;
use crate::config::raw::{RawClients, Slot};
use crate::config::units::Size;
use crate::config::value::Show;
use crate::config::{ClientLimits, defaults};

impl Check<'_> {
    pub(super) fn clients(&mut self, raw: &RawClients) -> ClientLimits {
        let (body_memory, all_body_memory) = self.memory(
            ("clients.body_memory", &raw.body_memory),
            defaults::BODY_MEMORY,
            ("clients.all_body_memory", &raw.all_body_memory),
            defaults::ALL_BODY_MEMORY,
        );
        let min_upload_rate = self.within(
            "clients.min_upload_rate",
            &raw.min_upload_rate,
            defaults::MIN_UPLOAD_RATE,
            defaults::RATES,
        );
        let (answer_memory, all_answer_memory) = self.memory(
            ("clients.answer_memory", &raw.answer_memory),
            defaults::ANSWER_MEMORY,
            ("clients.all_answer_memory", &raw.all_answer_memory),
            defaults::ALL_ANSWER_MEMORY,
        );
        let min_download_rate = self.within(
            "clients.min_download_rate",
            &raw.min_download_rate,
            defaults::MIN_DOWNLOAD_RATE,
            defaults::RATES,
        );
        ClientLimits {
            body_memory,
            all_body_memory,
            min_upload_rate: min_upload_rate.0,
            answer_memory,
            all_answer_memory,
            min_download_rate: min_download_rate.0,
            max_per_address: self.count(
                "clients.max_per_address",
                &raw.max_per_address,
                defaults::MAX_PER_ADDRESS,
                defaults::PER_ADDRESS,
            ),
            new_per_second: self.count(
                "clients.new_per_second",
                &raw.new_per_second,
                defaults::NEW_PER_SECOND,
                defaults::PER_ADDRESS,
            ),
            heads_per_address: self.count(
                "clients.heads_per_address",
                &raw.heads_per_address,
                defaults::HEADS_PER_ADDRESS,
                defaults::PER_ADDRESS,
            ),
        }
    }

    /// Reads the memory of one request and that of all, which must not be less.
    fn memory(
        &mut self,
        one: (&str, &Slot<Size>),
        default: Size,
        all: (&str, &Slot<Size>),
        all_default: Size,
    ) -> (usize, usize) {
        let of_one = self.within(one.0, one.1, default, defaults::MEMORIES);
        let of_all = self.within(all.0, all.1, all_default, defaults::MEMORIES);
        if let Some(at) = one
            .1
            .at()
            .or_else(|| all.1.at())
            .filter(|_| of_one > of_all)
        {
            let title = format!(
                "`{}` is {}: must not be more than `{}`, which is {}",
                one.0,
                of_one.show(),
                all.0,
                of_all.show()
            );
            self.refuse(Problem::new(title).at(at));
        }
        let bytes = |size: Size| usize::try_from(size.0).unwrap_or(usize::MAX);
        (bytes(of_one), bytes(of_all))
    }
}
