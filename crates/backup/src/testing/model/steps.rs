//! What can happen, and how often.

use proptest::prelude::*;
use proptest::sample::Index;

use crate::catalog::retention::Policy;
use crate::record::id::BackupId;
use crate::testing::faults::Fault;

/// One step of a sequence.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// The application commits to its database and changes its configuration.
    Write,
    /// The live state is lost.
    Lose,
    /// The clock moves ahead or back.
    Clock { hours: i64 },
    /// A stored artifact of one of the backups is damaged.
    Damage { backup: Index, artifact: Index, harm: Harm },
    /// A command runs, and may be cut short.
    Run { action: Action, cut: Option<Cut> },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Harm {
    /// One bit is flipped.
    Flip,
    /// The second half is missing.
    Truncate,
    /// All of it is missing.
    Remove,
}

/// A command to run. An index chooses one of the existing backups.
#[derive(Debug, Clone)]
pub(super) enum Action {
    Backup,
    Pin(Index, bool),
    Rotate(Policy),
    Verify(Index),
    Drill(Index),
    Restore(Index),
    Undo,
}

/// An action with the id of its backup.
#[derive(Debug)]
pub(super) enum Command {
    Backup,
    Pin(BackupId, bool),
    Rotate(Policy),
    Verify(BackupId),
    Drill(BackupId),
    Restore(BackupId),
    Undo,
}

/// The point at which a command is cut short.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cut {
    /// At this call of the store.
    Store(usize, Fault),
    /// It is killed at this event, between two calls.
    Killed(usize),
}

pub(super) fn steps() -> impl Strategy<Value = Step> {
    let harm = prop_oneof![Just(Harm::Flip), Just(Harm::Truncate), Just(Harm::Remove)];
    // Only a few distances, so that the same moments occur again.
    let hours = proptest::sample::select(&[0, 1, 24, 48, 200, -24, -200][..]);
    let damage = (any::<Index>(), any::<Index>(), harm);
    prop_oneof![
        6 => Just(Step::Write),
        1 => Just(Step::Lose),
        5 => hours.prop_map(|hours| Step::Clock { hours }),
        2 => damage.prop_map(|(backup, artifact, harm)| Step::Damage { backup, artifact, harm }),
        24 => (actions(), proptest::option::weighted(0.35, cuts())).prop_map(|(action, cut)| Step::Run { action, cut }),
    ]
}

fn actions() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => Just(Action::Backup),
        3 => any::<(Index, bool)>().prop_map(|(index, pinned)| Action::Pin(index, pinned)),
        3 => policies().prop_map(Action::Rotate),
        1 => any::<Index>().prop_map(Action::Verify),
        1 => any::<Index>().prop_map(Action::Drill),
        3 => any::<Index>().prop_map(Action::Restore),
        2 => Just(Action::Undo),
    ]
}

fn policies() -> impl Strategy<Value = Policy> {
    let by_age = |days| Policy { keep_days: Some(days), ..Policy::default() };
    let by_count = |count| Policy { keep_days: None, keep_last: count, ..Policy::default() };
    prop_oneof![(0..4_u32).prop_map(by_age), (1..4_u32).prop_map(by_count)]
}

fn cuts() -> impl Strategy<Value = Cut> {
    let store = (0..45_usize, proptest::sample::select(&Fault::ALL[..]));
    prop_oneof![3 => store.prop_map(|(at, fault)| Cut::Store(at, fault)), 1 => (0..15_usize).prop_map(Cut::Killed)]
}
