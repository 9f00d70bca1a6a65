//! Random histories of a chain: changes, increments, merges, removals, and runs that are cut short. Every point that is
//! listed holds what it held when it was made, and no hour of the last week is without one.

use std::collections::BTreeSet;
use std::fs;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::chains::{Holdings, all_held};
use super::faults::{Fault, WatchedStore};
use super::fixtures::{Site, id, published, staged};
use crate::catalog::Catalog;
use crate::catalog::retention::Policy;
use crate::error::Result;
use crate::operation::backup::{backup, backup_incremental};
use crate::operation::run::Run;
use crate::operation::{marks, rotate};
use crate::record::id::BackupId;
use crate::record::names;
use crate::store::MemoryStore;

/// What happens at some moment.
#[derive(Debug, Clone)]
enum Step {
    /// The database changes.
    Change(u8),
    /// The database grows or shrinks.
    Resize(u8),
    /// The configuration changes, or is lost.
    Configure(Option<u8>),
    /// An increment, or a full backup if there is none to continue.
    Increment,
    /// A full backup.
    Full,
    /// The newest point is pinned.
    Pin,
    /// Time passes.
    Wait { hours: i64 },
    /// A rotation, which can be cut short.
    Rotate(Option<(usize, Fault)>),
}

fn steps() -> impl Strategy<Value = Step> {
    let cut = (0..150_usize, proptest::sample::select(&Fault::ALL[..]));
    prop_oneof![
        6 => any::<u8>().prop_map(Step::Change),
        2 => any::<u8>().prop_map(Step::Resize),
        2 => proptest::option::weighted(0.7, any::<u8>()).prop_map(Step::Configure),
        12 => Just(Step::Increment),
        1 => Just(Step::Full),
        1 => Just(Step::Pin),
        3 => proptest::sample::select(&[1, 25, 25, 100, 200][..]).prop_map(|hours| Step::Wait { hours }),
        5 => proptest::option::weighted(0.5, cut).prop_map(Step::Rotate),
    ]
}

struct World {
    site: Site,
    store: MemoryStore,
    now: DateTime<Utc>,
    /// What each point held when it was made.
    made: Holdings,
    merges: usize,
}

impl World {
    fn new() -> Self {
        let (site, store) = (Site::new(), MemoryStore::new());
        site.execute(
            "WITH RECURSIVE n(x) AS (SELECT 10 UNION ALL SELECT x + 1 FROM n WHERE x < 1500)
             INSERT INTO sessions SELECT x, x FROM n",
        );
        Self { site, store, now: id("20251209_140000").time(), made: Holdings::new(), merges: 0 }
    }

    fn take(&mut self, step: &Step) {
        let env = self.site.root().join(".env");
        match step {
            Step::Change(number) => {
                let ids = format!("{number}, 5 * {number}, 1");
                self.site.execute(&format!("UPDATE sessions SET kwh = kwh + 1 WHERE id IN ({ids})"));
            }
            Step::Resize(number) if number % 2 == 0 => {
                self.site.execute(&format!("DELETE FROM sessions WHERE id > 1500 + {number}; VACUUM"));
            }
            Step::Resize(number) => self.site.execute(&format!(
                "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {number})
                 INSERT INTO sessions(kwh) SELECT x FROM n"
            )),
            Step::Configure(Some(port)) => fs::write(env, format!("PORT={port}\n")).unwrap(),
            Step::Configure(None) => drop(fs::remove_file(env)),
            Step::Increment => self.back_up(false),
            Step::Full => self.back_up(true),
            Step::Pin => self.pin(),
            Step::Wait { hours } => self.now += TimeDelta::hours(*hours),
            Step::Rotate(cut) => self.rotate(*cut),
        }
    }

    fn moment(&self) -> String {
        BackupId::at(self.now).to_string()
    }

    fn back_up(&mut self, full: bool) {
        self.now += TimeDelta::minutes(7);
        let (run, mut request) = (self.site.begin(&self.store, &self.moment()), self.site.request());
        request.tracked = true;
        // A set of files that is lost is an error if nothing else has changed.
        let _ = if full { backup(&run, &request).map(drop) } else { backup_incremental(&run, &request).map(drop) };
        drop(run);
        for (point, held) in all_held(&self.store) {
            self.made.entry(point).or_insert(held);
        }
    }

    fn pin(&mut self) {
        let Some(newest) = self.made.keys().next_back() else { return };
        marks::set_pinned(&self.site.begin(&self.store, &self.moment()), *newest, true).unwrap();
    }

    fn rotate(&mut self, cut: Option<(usize, Fault)>) {
        let watched = match cut {
            Some((at, fault)) => WatchedStore::failing(&self.store, at, fault),
            None => WatchedStore::new(&self.store),
        };
        let rotation = Run::begin(self.site.setup(&watched, &self.moment()), &mut |_| {}).and_then(|run| rotate(&run));
        let was_cut = watched.has_failed();
        self.merges += rotation.as_ref().map_or(0, |rotation| rotation.merged.len());
        self.check();
        if !was_cut {
            assert_eq!(rotation.unwrap().unmerged, []);
            self.assert_tidy();
        }
    }

    /// Asserts that the points hold what they did, and that enough of them are left.
    fn check(&self) {
        let held = all_held(&self.store);
        for (point, held) in &held {
            assert_eq!(held, &self.made[point], "{point}");
        }
        let hour = |point: &BackupId| point.time().timestamp() / 3600;
        let hours: BTreeSet<i64> = held.keys().map(hour).collect();
        let day_ago = self.now - TimeDelta::days(1);
        for point in self.made.keys().filter(|point| self.now - point.time() <= TimeDelta::days(7)) {
            assert!(hours.contains(&hour(point)), "no point of the hour of {point} is left");
            assert!(point.time() <= day_ago || held.contains_key(point), "{point} is gone");
        }
    }

    /// Asserts that another rotation has nothing to do, and that all objects belong to backups.
    fn assert_tidy(&self) {
        let again = rotate(&self.site.begin(&self.store, &self.moment())).unwrap();
        assert_eq!(again, rotate::Rotation::default());
        assert_eq!(staged(&self.store), Vec::<String>::new());
        let catalog = Catalog::load(&self.store).unwrap();
        let mut names: Vec<String> = Vec::new();
        for entry in catalog.entries() {
            names.extend(entry.files.iter().map(|file| file.file.clone()));
            names.push(names::manifest(entry.id));
            names.extend(entry.has_pin.then(|| names::pin(entry.id)));
        }
        names.sort();
        assert_eq!(published(&self.store), names);
    }
}

fn rotate(run: &Run<'_>) -> Result<rotate::Rotation> {
    rotate::apply(run, &rotate::plan(run, &Policy::default(), None)?)
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(7), ..ProptestConfig::with_cases(60) })]

    #[test]
    fn whatever_is_merged_every_point_holds_what_it_did(steps in proptest::collection::vec(steps(), 10..50)) {
        let mut world = World::new();
        for step in steps {
            world.take(&step);
        }
        world.rotate(None);
    }
}

#[test]
fn such_histories_have_merges() {
    let mut world = World::new();
    for step in [Step::Full, Step::Change(1), Step::Increment, Step::Change(2), Step::Increment, Step::Change(3)] {
        world.take(&step);
    }
    for step in [Step::Increment, Step::Wait { hours: 25 }, Step::Rotate(None)] {
        world.take(&step);
    }
    assert_eq!((world.merges, Catalog::load(&world.store).unwrap().entries().len()), (1, 3));
}
