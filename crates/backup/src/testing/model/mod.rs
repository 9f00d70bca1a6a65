//! Random sequences of what people, clocks, disks and crashes do to a project. After each step, everything is compared
//! with a small model of what must be there ([`expected`]). A sequence that fails is shrunk to a short one.

mod check;
mod expected;
mod steps;
mod world;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use steps::{Step, steps};
use world::World;

/// Runs a sequence, and checks after each step.
fn run(steps: Vec<Step>) {
    let mut world = World::new();
    for step in steps {
        world.take(step);
        world.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(5), ..ProptestConfig::with_cases(500) })]

    #[test]
    fn whatever_happens_what_must_be_restorable_is(steps in proptest::collection::vec(steps(), 1..32)) {
        run(steps);
    }
}
