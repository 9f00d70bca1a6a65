//! Fewer rounds if nothing at all can be saved.
//!
//! Without a backup to continue, each such round leaves the record of a full backup that failed. One every minute would
//! fill the store with them.

/// The most rounds from one to the next.
const MOST: u32 = 60;

/// Which rounds are left out.
#[derive(Debug, Default)]
pub struct Pace {
    /// How many are left out after this one.
    pause: u32,
    left_out: u32,
}

impl Pace {
    /// Takes note of a round: after each that `saved_nothing`, twice as many are left out.
    pub fn note(&mut self, saved_nothing: bool) {
        self.pause = if saved_nothing { (self.pause * 2 + 1).min(MOST - 1) } else { 0 };
        self.left_out = 0;
    }

    /// Whether the round that is due is left out.
    pub fn leaves_out(&mut self) -> bool {
        let is_left_out = self.left_out < self.pause;
        self.left_out += u32::from(is_left_out);
        is_left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_that_save_nothing_become_rare_and_one_that_does_ends_that() {
        let mut pace = Pace::default();
        let mut left_out = |saved_nothing| {
            pace.note(saved_nothing);
            (0..1000).take_while(|_| pace.leaves_out()).count()
        };
        assert_eq!([true; 8].map(&mut left_out), [1, 3, 7, 15, 31, 59, 59, 59]);
        assert_eq!([false, true].map(&mut left_out), [0, 1]);
    }
}
