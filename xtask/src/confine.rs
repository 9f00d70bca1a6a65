//! Processes that can't write to other files than their own, by Landlock, which the kernel has since 5.13.
//!
//! It binds the thread that asks for it, and what that starts. So the process is started by a thread of its own.

use std::path::Path;

use landlock::{ABI, AccessFs, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, path_beneath_rules};

/// Where everybody may write, beside a folder of their own.
const COMMON: [&str; 3] = ["/dev", "/tmp", "/var/tmp"];

/// Calls `start` where it, and what it starts, can write below `folder` and in temporary folders alone. On a kernel
/// without Landlock it can write as before: the sandbox of a scheduled drill is there as well.
pub fn writing_below<T: Send>(folder: &Path, start: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // Best effort: what goes wrong here leaves it as it would be without.
            let _ = restrict(folder);
            start()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn restrict(folder: &Path) -> Result<(), RulesetError> {
    let writes = AccessFs::from_write(ABI::V3);
    let places = COMMON.iter().map(Path::new).chain([folder]);
    let rules = landlock::Ruleset::default().handle_access(writes)?.create()?;
    rules.add_rules(path_beneath_rules(places, writes))?.restrict_self()?;
    Ok(())
}
