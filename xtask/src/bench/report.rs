//! The results of a bench and their arithmetic, without side effects.

use serde::Serialize;

use super::machine::Machine;
use super::measure::Measurement;
use super::peers::Peer;

/// The results.
#[derive(Debug, Serialize)]
pub struct Report {
    /// This program.
    pub tool: Tool,
    /// The machine.
    pub machine: Machine,
    /// What this program was compared with.
    pub peers: Vec<Peer>,
    /// The version of the `sqlite3` that some of them use.
    pub sqlite3: Option<String>,
    /// Requested peers that are not installed.
    pub not_installed: Vec<&'static str>,
    /// How often each job was measured.
    pub runs: u32,
    /// Job by job.
    pub jobs: Vec<JobReport>,
    /// Load by load, those that follow a database.
    pub follow: Vec<LoadReport>,
}

/// What following costs under a load.
#[derive(Debug, Serialize)]
pub struct LoadReport {
    /// The load's name.
    pub load: &'static str,
    /// A description, for people.
    #[serde(skip)]
    pub about: &'static str,
    /// The size of the database in bytes, when it was made.
    pub database_bytes: u64,
    /// For how long each was measured.
    pub seconds: u64,
    /// The seconds between two rounds.
    pub every_s: u64,
    /// One for each that follows, between two of a writer that nobody follows.
    pub followers: Vec<FollowRow>,
}

/// What one that follows a database costs, and its writer.
#[derive(Debug, Serialize)]
pub struct FollowRow {
    /// Its name.
    pub name: &'static str,
    /// The writer's commits in a second.
    pub commits_per_s: f64,
    /// That divided by the mean of the writer's alone.
    pub of_alone: Option<f64>,
    /// The longest that the database's log was, in bytes.
    pub max_log_bytes: u64,
    /// What it cost; none for the writer alone.
    #[serde(flatten)]
    pub cost: Option<FollowCost>,
}

/// What one that follows a database costs.
#[derive(Debug, Serialize)]
pub struct FollowCost {
    /// The processor's time for each second, in seconds.
    pub cpu_share: f64,
    /// The peak of its anonymous memory in bytes.
    pub peak_anon_bytes: Option<u64>,
    /// What it read in bytes, in the whole time.
    pub read_bytes: u64,
    /// What it added to its store in bytes, in the whole time.
    pub added_bytes: u64,
}

impl LoadReport {
    /// Compares each with the writer alone, which has no cost.
    pub fn compare(&mut self) {
        let alone = self.followers.iter().filter(|row| row.cost.is_none()).map(|row| row.commits_per_s);
        let alone: Vec<f64> = alone.collect();
        let mean = alone.iter().sum::<f64>() / f64::from(u32::try_from(alone.len()).unwrap_or(u32::MAX));
        for row in self.followers.iter_mut().filter(|row| row.cost.is_some()) {
            row.of_alone = Some(row.commits_per_s / mean);
        }
    }
}

/// This program.
#[derive(Debug, Serialize)]
pub struct Tool {
    /// Its version.
    pub version: &'static str,
    /// The version of SQLite in it.
    pub sqlite: &'static str,
    /// Whether it was built with optimization.
    pub optimized: bool,
}

/// The results of a job.
#[derive(Debug, Serialize)]
pub struct JobReport {
    /// Its name.
    pub job: &'static str,
    /// A description, for people.
    #[serde(skip)]
    pub about: &'static str,
    /// The size of the database in bytes.
    pub database_bytes: u64,
    /// The rows, one for each contestant.
    pub contestants: Vec<Row>,
}

/// The results of one contestant.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// All times in seconds, in the order of the runs.
    pub seconds: Vec<f64>,
    /// Their median.
    pub median_s: f64,
    /// The shortest.
    pub min_s: f64,
    /// The longest.
    pub max_s: f64,
    /// The processor's time, the median in seconds.
    pub cpu_s: f64,
    /// Its time compared with others.
    pub against: Vec<Comparison>,
    /// For a backup: the size of its store after the last run, in bytes.
    pub stored_bytes: Option<u64>,
    /// For a backup: the size of the database divided by that.
    pub compression: Option<f64>,
    /// For a backup after another one: what it added to the store in bytes, the median.
    pub added_bytes: Option<u64>,
    /// The peak of its anonymous memory in bytes, if it is a single process.
    pub peak_anon_bytes: Option<u64>,
}

/// A time compared with that of a peer.
#[derive(Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The peer.
    pub peer: &'static str,
    /// This median divided by the peer's: less than 1 is faster. None if the peer took no part.
    pub ratio: Option<f64>,
}

impl Row {
    /// The results of these runs.
    pub fn of(name: &'static str, runs: &[Measurement]) -> Self {
        let seconds: Vec<f64> = runs.iter().map(|run| run.seconds).collect();
        let cpu: Vec<f64> = runs.iter().map(|run| run.cpu_seconds).collect();
        Self {
            name,
            median_s: median(&seconds),
            min_s: seconds.iter().copied().fold(f64::INFINITY, f64::min),
            max_s: seconds.iter().copied().fold(0.0, f64::max),
            seconds,
            cpu_s: median(&cpu),
            against: Vec::new(),
            stored_bytes: None,
            compression: None,
            added_bytes: None,
            peak_anon_bytes: runs.iter().filter_map(|run| run.peak_anon_bytes).max(),
        }
    }

    /// The same, with what the last run left of a database.
    pub fn with_stored(self, stored_bytes: u64, database_bytes: u64) -> Self {
        let compression = Some(ratio(database_bytes, stored_bytes));
        Self { stored_bytes: Some(stored_bytes), compression, ..self }
    }

    /// The same, with what each run added to the store.
    pub fn with_added(self, mut added: Vec<u64>) -> Self {
        added.sort_unstable();
        Self { added_bytes: added.get(added.len() / 2).copied(), ..self }
    }

    /// Its time compared with those of `peers` among `rows`.
    pub fn compare(&self, peers: &[&'static str], rows: &[Row]) -> Vec<Comparison> {
        let median = |peer| rows.iter().find(|row| row.name == peer).map(|row| row.median_s);
        peers.iter().map(|&peer| Comparison { peer, ratio: median(peer).map(|peer| self.median_s / peer) }).collect()
    }
}

/// The median; NaN if there are no values.
fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        number => f64::midpoint(values[(number - 1) / 2], values[number / 2]),
    }
}

#[allow(clippy::cast_precision_loss, reason = "no file has 2⁵³ bytes")]
fn ratio(whole: u64, part: u64) -> f64 {
    whole as f64 / part as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(seconds: f64, peak_anon_bytes: Option<u64>) -> Measurement {
        Measurement { seconds, cpu_seconds: seconds / 2.0, peak_anon_bytes }
    }

    fn row(name: &'static str, seconds: &[f64]) -> Row {
        let runs = seconds.iter().map(|&seconds| run(seconds, None));
        Row::of(name, &runs.collect::<Vec<_>>()).with_stored(250, 1000)
    }

    #[test]
    fn the_median_is_the_one_in_the_middle_or_between_the_two_there() {
        for (seconds, figures) in [(&[3.0, 1.0, 8.0][..], "3 1 8"), (&[4.0, 1.0, 2.0, 9.0], "3 1 9"), (&[5.0], "5 5 5")]
        {
            let Row { median_s, min_s, max_s, .. } = row("a", seconds);
            assert_eq!(format!("{median_s} {min_s} {max_s}"), figures);
        }
    }

    #[test]
    fn times_are_compared_by_their_medians_and_not_with_who_is_not_there() {
        let rows = [row("own", &[1.0, 2.0, 9.0]), row("pigz", &[8.0])];
        assert_eq!(
            rows[0].compare(&["pigz", "zstd"], &rows),
            [Comparison { peer: "pigz", ratio: Some(0.25) }, Comparison { peer: "zstd", ratio: None }]
        );
        assert_eq!(rows[0].compression, Some(4.0));
    }

    #[test]
    fn the_peak_is_the_highest_of_all_runs() {
        let runs = [None, Some(3), Some(2)].map(|peak| run(1.0, peak));
        assert_eq!(Row::of("a", &runs).peak_anon_bytes, Some(3));
    }

    #[test]
    fn the_processor_s_time_and_what_was_added_are_medians() {
        let row = row("a", &[1.0, 2.0, 9.0]).with_added(vec![30, 10, 20]);
        assert_eq!((row.cpu_s, row.added_bytes), (1.0, Some(20)));
    }
}
