//! The most that had been seen at some moment.

/// Numbers with the places in the history at which they were known.
#[derive(Debug)]
pub(super) struct Most(Vec<(usize, u64)>);

impl Most {
    /// Of places and numbers, in any order.
    pub(super) fn new(rows: impl IntoIterator<Item = (usize, u64)>) -> Self {
        let mut rows: Vec<(usize, u64)> = rows.into_iter().collect();
        rows.sort_unstable();
        let mut most = 0;
        for (_, number) in &mut rows {
            most = most.max(*number);
            *number = most;
        }
        Self(rows)
    }

    /// The largest number that was known before this place.
    pub(super) fn before(&self, place: usize) -> Option<u64> {
        self.0[..self.0.partition_point(|(known, _)| *known < place)].last().map(|(_, most)| *most)
    }
}
