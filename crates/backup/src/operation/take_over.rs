//! Two operations change whose backups count: to take over a store, and to admit a host.

use std::collections::BTreeSet;

use super::look::Setup;
use super::run::Run;
use crate::catalog::owner::{self, OtherProject};
use crate::error::{Error, ErrorKind, Result};
use crate::record::ledger::{Command, Line, Outcome};

/// The other project that the store belongs to; `None` if it is this project's, or nobody's yet.
///
/// # Errors
/// [`ErrorKind::UnsupportedFormat`] if a newer version wrote `store.json`; any error of reading the store.
pub fn other_project(setup: &Setup<'_>) -> Result<Option<OtherProject>> {
    owner::other_project(setup.store, setup.project())
}

/// Makes the store of another project this one's. The other project's backups stay. They don't count as this one's,
/// unless both projects have one name. Returns the other project; `None` if there was nothing to take over.
///
/// # Errors
/// As [`Run::begin`], except for [`ErrorKind::ForeignStore`].
pub fn take_over(setup: Setup<'_>, waiting: &mut dyn FnMut(&str)) -> Result<Option<OtherProject>> {
    let run = Run::begin_on_any(setup, waiting)?;
    run.recover()?;
    let Some(other) = other_project(run.setup())? else { return Ok(None) };
    // The ledger comes first: a run that is cut short between the two can be repeated. The other way round, the earlier
    // lines of the other project would count as this one's.
    let from = Some(other.name.clone());
    run.record(Line { from, ..Line::new(run.now(), Command::TakeOver, Outcome::Ok) })?;
    let hosts = if other.has_same_name() {
        owner::other_hosts(run.setup().store, run.setup().project())?
    } else {
        Some(BTreeSet::new())
    };
    run.write_owner(hosts)?;
    Ok(Some(other))
}

/// Makes the backups of a host count that isn't recorded as one of the project's. Returns their number.
///
/// # Errors
/// [`ErrorKind::NoSuchBackup`] if there are none; any error of reading or writing the store.
pub fn admit(run: &Run<'_>, host: &str) -> Result<usize> {
    let count = owner::of_other_hosts(&*run.own_catalog()?).filter(|other| *other == host).count();
    if count == 0 {
        let message = format!("no backup of host {host:?} is here, or its backups count already");
        return Err(Error::new(ErrorKind::NoSuchBackup, message).with_hint("`list` names the hosts that don't count"));
    }
    run.record(Line { admitted: Some(host.into()), ..Line::new(run.now(), Command::TakeOver, Outcome::Ok) })?;
    let mut hosts = owner::other_hosts(run.setup().store, run.setup().project())?;
    if let Some(hosts) = &mut hosts {
        hosts.insert(host.into());
    }
    run.write_owner(hosts)?;
    Ok(count)
}
