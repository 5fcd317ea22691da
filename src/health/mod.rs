//! Who is fit to: rise and fall, passive ejection, slow start, the schedule of probes.
