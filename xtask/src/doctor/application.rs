//! A check of the application's own unit, which a restore stops.

use xshell::Shell;

use super::finding::Finding;
use crate::application::Application;
use crate::context::Context;

/// Checks that systemd knows the unit; none if the settings name no unit.
pub fn examine(context: &Context<'_>, shell: &Shell) -> Option<Finding> {
    let (check, unit) = ("application", &context.config.restore.stop_unit);
    if unit.is_empty() {
        return None;
    }
    Some(match Application::find(shell, unit, None) {
        Err(error) => Finding::error(check, &error),
        Ok(Some(found)) if found.is_active() => Finding::ok(check, format!("{unit} runs; a restore stops it")),
        Ok(Some(_)) => Finding::ok(check, format!("{unit} doesn't run")),
        Ok(None) => Finding::warning(
            check,
            format!("systemd knows no unit {unit}: a restore will not stop it"),
            "correct stop_unit under [restore] in the settings",
        ),
    })
}
