//! Processes that can write only to their own files. This uses Landlock, which the kernel has since 5.13.
//!
//! It restricts the calling thread and its children. So a thread of its own starts the process.

use std::path::Path;

use landlock::{ABI, AccessFs, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, path_beneath_rules};

/// Folders that everybody may write to.
const COMMON: [&str; 3] = ["/dev", "/tmp", "/var/tmp"];

/// Calls `start`, which can write only below `folder` and in temporary folders; so can its children. A kernel without
/// Landlock doesn't restrict it; a scheduled drill has its sandbox as well.
pub fn writing_below<T: Send>(folder: &Path, start: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // Best effort: after an error it runs unrestricted.
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
