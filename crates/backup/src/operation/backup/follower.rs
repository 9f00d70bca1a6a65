//! Increments one after another, with a snapshot of each database kept open in between.

use super::increment::backup_changes;
use super::request::{BackupRequest, IncrementalReport};
use super::state::KeptSnapshots;
use crate::error::Result;
use crate::operation::run::Run;
use crate::source::sqlite::KeptSnapshot;

/// Makes increments one after another, and keeps a snapshot of each database open until the next one has begun. So the
/// log always tells what changed, even if it began anew in between. Without that, all pages would have to be compared.
///
/// A snapshot keeps a database's log from beginning anew, and the log grows. When it is a quarter of the limit long, the
/// follower moves it into the database file, and takes a snapshot that doesn't need the log. If commits come too fast for
/// that, it lets go of the snapshot at the limit, and the next increment compares all pages.
pub struct Follower {
    max_log_bytes: u64,
    kept: KeptSnapshots,
}

impl Follower {
    /// A follower that lets no log grow much beyond this many bytes.
    pub fn new(max_log_bytes: u64) -> Self {
        Self { max_log_bytes, kept: KeptSnapshots::default() }
    }

    /// As [`backup_incremental`](super::backup_incremental).
    ///
    /// # Errors
    /// As [`backup_incremental`](super::backup_incremental).
    pub fn back_up(&mut self, run: &Run<'_>, request: &BackupRequest<'_>) -> Result<IncrementalReport> {
        let (report, kept) = backup_changes(run, request, &self.kept)?;
        self.kept = kept;
        self.bound_logs(run);
        Ok(report)
    }

    /// Whatever fails here, the next increment is right: it may have to compare all pages.
    fn bound_logs(&mut self, run: &Run<'_>) {
        let is_long = |kept: &KeptSnapshot| kept.log_bytes() > self.max_log_bytes / 4;
        for kept in self.kept.values_mut().filter(|kept| is_long(kept)) {
            let _ = kept.settle(run.busy_timeout());
        }
        for (name, kept) in std::mem::take(&mut self.kept) {
            if kept.log_bytes() > self.max_log_bytes {
                let _ = kept.let_go(run.busy_timeout());
            } else {
                self.kept.insert(name, kept);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::progress::{Event, Phase, Progress};
    use crate::record::id::BackupId;
    use crate::store::MemoryStore;
    use crate::testing::fixtures::{Site, id};

    const FULL: &str = "20251209_140000";

    /// Remembers how many bytes each look compared.
    #[derive(Default)]
    struct Compared(Mutex<Vec<u64>>);

    impl Progress for Compared {
        fn event(&self, event: Event<'_>) {
            if let Event::Begin { phase: Phase::Snapshot, total: Some(total), .. } = event {
                self.0.lock().unwrap().push(total);
            }
        }
    }

    struct Followed<'a> {
        site: &'a Site,
        store: &'a MemoryStore,
        follower: Follower,
        next: BackupId,
        compared: Compared,
    }

    impl Followed<'_> {
        fn round(&mut self) -> IncrementalReport {
            let setup =
                crate::Setup { progress: &self.compared, ..self.site.setup(self.store, &self.next.to_string()) };
            self.next = self.next.successor();
            let run = Run::begin(setup, &mut |_| {}).unwrap();
            self.follower.back_up(&run, &self.site.request()).unwrap()
        }

        /// They change whenever the log begins anew.
        fn log_salts(&self) -> Vec<u8> {
            std::fs::read(self.site.root().join("sessions.db-wal")).unwrap()[16..24].to_vec()
        }

        /// Bytes of the log's file.
        fn log_bytes(&self) -> u64 {
            std::fs::metadata(self.site.root().join("sessions.db-wal")).unwrap().len()
        }
    }

    fn followed<'a>(site: &'a Site, store: &'a MemoryStore, max_log_bytes: u64) -> Followed<'a> {
        site.execute(
            "WITH RECURSIVE n(x) AS (SELECT 10 UNION ALL SELECT x + 1 FROM n WHERE x < 20000)
             INSERT INTO sessions SELECT x, x FROM n",
        );
        let follower = Follower::new(max_log_bytes);
        let mut followed = Followed { site, store, follower, next: id(FULL), compared: Compared::default() };
        assert!(matches!(followed.round(), IncrementalReport::Full(..)));
        followed
    }

    #[test]
    fn the_log_tells_what_changed_although_it_begins_anew_again_and_again() {
        let (site, store) = (Site::new(), MemoryStore::new());
        let application = site.open();
        let limit = 400_000;
        let mut followed = followed(&site, &store, limit);
        assert!(matches!(followed.round(), IncrementalReport::Unchanged { .. }));
        followed.compared.0.lock().unwrap().clear();
        for round in 0..200 {
            application.execute("UPDATE sessions SET kwh = ?1 WHERE id % 1000 = ?1", [round]).unwrap();
            assert!(matches!(followed.round(), IncrementalReport::Increment(_)));
        }
        let most = *followed.compared.0.lock().unwrap().iter().max().unwrap();
        assert!(most < limit, "one look compared {most} bytes");
        assert!(followed.log_bytes() < limit, "{} bytes", followed.log_bytes());
    }

    #[test]
    fn beside_a_writer_that_never_pauses_the_log_begins_anew_all_the_same() {
        let (site, store) = (Site::new(), MemoryStore::new());
        let limit = 200_000;
        let mut followed = followed(&site, &store, limit);
        let writer = site.open();
        let (stop, stopped) = mpsc::channel::<()>();
        let (committed, commits) = mpsc::sync_channel(0);
        let writing = thread::spawn(move || {
            writer.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
            writer.execute_batch("PRAGMA synchronous = off; PRAGMA wal_autocheckpoint = 10").unwrap();
            for n in 0.. {
                writer.execute("UPDATE sessions SET kwh = ?1 WHERE id = ?1 % 20000", [n]).unwrap();
                if stopped.try_recv() != Err(mpsc::TryRecvError::Empty) {
                    break;
                }
                let _ = committed.try_send(());
            }
        });
        let mut logs = BTreeSet::new();
        for _ in 0..100 {
            // Some commits come before each round, and others during it.
            (0..20).for_each(|_| commits.recv().unwrap());
            followed.round();
            assert!(followed.follower.kept.values().all(|kept| kept.log_bytes() <= limit));
            logs.insert(followed.log_salts());
        }
        drop(stop);
        writing.join().unwrap();
        assert!(logs.len() > 10, "the log began anew {} times in 100 rounds", logs.len());
    }
}
