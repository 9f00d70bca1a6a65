//! The user that this process runs as. Root becomes another user for good: there is no way back, and no secret or path
//! of root's environment is kept.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{CString, OsString};
use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::Context as _;
use backup::{Error, ErrorKind};
use nix::unistd::{self, Gid, Uid, User};

use super::writers::Writer;

/// The user that this process has become.
static BECAME: OnceLock<Account> = OnceLock::new();

/// A user, and why this process became that one.
#[derive(Debug)]
pub struct Account {
    /// The user's name, or number if it has none.
    pub name: String,
    /// The user's number.
    pub uid: u32,
    gid: Gid,
    /// The user's home folder; `/` if none is known.
    pub home: PathBuf,
    /// The user's file or folder, because of which this process became the user.
    pub place: PathBuf,
}

/// The user that this process has become; none if it runs as whoever started it.
pub fn became() -> Option<&'static Account> {
    BECAME.get()
}

/// Whether this process is root's.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The user's home folder.
pub fn home() -> anyhow::Result<PathBuf> {
    let home = became().map_or_else(env::home_dir, |account| Some(account.home.clone()));
    home.filter(|home| home.is_absolute()).context("find the home folder: HOME is not set")
}

impl Account {
    /// The account of a writer. A number without a user gets the group of its place.
    pub fn of(writer: Writer) -> Self {
        let Writer { uid, gid, place } = writer;
        if let Some(user) = User::from_uid(Uid::from_raw(uid)).ok().flatten() {
            return Self { name: user.name, uid, gid: user.gid, home: user.dir, place };
        }
        Self { name: uid.to_string(), uid, gid: Gid::from_raw(gid), home: PathBuf::from("/"), place }
    }

    /// Why permission may be denied, and what to do about it.
    pub fn hint(&self) -> String {
        format!("this runs as {0}, who owns {1}: give {0} access to it", self.name, self.place.display())
    }

    /// Becomes that user, and makes sure that there is no way back.
    pub fn enter(&self) -> anyhow::Result<()> {
        let name = CString::new(self.name.as_str()).context("read the user's name")?;
        let uid = Uid::from_raw(self.uid);
        let is_known = self.name != self.uid.to_string();
        let entered = if is_known { unistd::initgroups(&name, self.gid) } else { unistd::setgroups(&[]) }
            .and_then(|()| unistd::setresgid(self.gid, self.gid, self.gid))
            .and_then(|()| unistd::setresuid(uid, uid, uid));
        entered.map_err(|e| {
            let why = format!("{} owns {}, and root can't become {0} here: {e}", self.name, self.place.display());
            Error::new(ErrorKind::PermissionDenied, why).with_hint(format!("run this as {}", self.name))
        })?;
        let root = Uid::from_raw(0);
        let is_back = unistd::setresuid(root, root, root).is_ok() || unistd::getresuid()?.effective.is_root();
        anyhow::ensure!(!is_back, "this process could become root again");
        Ok(())
    }

    /// Remembers that this process is now that user's. It is called once, before other threads run.
    pub fn remember(self) {
        let _ = BECAME.set(self);
    }

    /// The environment for programs that the user's settings name. Of root's variables it keeps only the language, the
    /// terminal and the like.
    pub fn environment(&self) -> BTreeMap<OsString, OsString> {
        let passed = |name: &str| ["PATH", "LANG", "TERM", "TZ"].contains(&name) || name.starts_with("LC_");
        let own = [("HOME", self.home.clone().into()), ("USER", self.name.clone().into())];
        let own = own.into_iter().chain([("LOGNAME", self.name.clone().into())]);
        let inherited = env::vars_os().filter(|(name, _)| name.to_str().is_some_and(passed));
        inherited.chain(own.map(|(name, value)| (name.into(), value))).collect()
    }
}
