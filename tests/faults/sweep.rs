//! Many cases, on all cores.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use fastrand::Rng;

use crate::outcome::Expected;
use crate::scenario::{Fixture, Scenario};
use crate::strace::{self, Fault};
use crate::support::{CommandOutput, Project};

/// A scenario and its expected outcome.
pub struct Place {
    pub fixture: Fixture,
    pub expected: Expected,
}

/// A fault in a scenario.
pub struct Case<'a> {
    pub place: &'a Place,
    pub fault: Fault,
}

/// These scenarios, each run once without a fault.
pub fn places(scenarios: &'static [Scenario]) -> Vec<Place> {
    strace::require();
    // In memory, a sync costs nothing, and thousands of runs sync a hundred times each.
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        // Another test of this process may have set the same already.
        let _ = tempfile::env::override_temp_dir(memory);
    }
    let place = |scenario: &'static Scenario| {
        let fixture = scenario.fixture();
        Place { expected: Expected::of(&fixture), fixture }
    };
    scenarios.iter().map(place).collect()
}

/// Every call of these names in every scenario, with every one of `whats`.
pub fn cases<'a>(places: &'a [Place], calls: &str, whats: &[&'static str]) -> Vec<Case<'a>> {
    let mut cases = Vec::new();
    for place in places {
        let project = place.fixture.project();
        for (call, numbers) in strace::calls(&project.command(place.fixture.command().split(' ')), calls) {
            for (number, what) in numbers.into_iter().flat_map(|number| whats.iter().map(move |what| (number, what))) {
                cases.push(Case { place, fault: Fault { call: call.clone(), number, what } });
            }
        }
    }
    cases
}

/// At most `count` of the cases, always the same.
pub fn sample(mut cases: Vec<Case<'_>>, count: usize) -> Vec<Case<'_>> {
    Rng::with_seed(5).shuffle(&mut cases);
    cases.truncate(count);
    cases
}

impl Case<'_> {
    /// Runs the case. Returns the project, how the run ended, and the calls that got the error.
    pub fn run(&self) -> (Project, CommandOutput, Vec<String>) {
        let project = self.place.fixture.project();
        let command = project.command(self.place.fixture.command().split(' '));
        let (ran, struck) = strace::inject(&command, &self.fault);
        (project, ran, struck)
    }
}

/// The outcome of a case whose call was never made.
pub const NOT_STRUCK: &str = "not struck";

/// Runs `check` on every case. It returns a word for the outcome, or what is wrong.
pub fn run(cases: &[Case<'_>], check: impl Fn(&Case<'_>) -> Result<&'static str, String> + Sync) {
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let ends = Mutex::new(BTreeMap::<_, usize>::new());
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let name = case.place.fixture.scenario.name;
            match check(case) {
                Ok(end) => *ends.lock().unwrap().entry((name, end)).or_default() += 1,
                Err(why) => {
                    failed.fetch_add(1, Ordering::Relaxed);
                    println!("{name}: {}: {why}", case.fault);
                }
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
    let (ends, failed) = (ends.into_inner().unwrap(), failed.into_inner());
    for ((name, end), count) in &ends {
        println!("{name}: {count} {end}");
    }
    println!("{} cases", cases.len());
    assert_eq!(failed, 0, "of {} cases", cases.len());
    // Runs differ by a call or two. If more cases are not struck, faults don't reach the runs.
    let missed: usize = ends.iter().filter(|((_, end), _)| *end == NOT_STRUCK).map(|(_, count)| count).sum();
    assert!(missed * 10 <= cases.len(), "{missed} of {} faults struck nothing", cases.len());
}
