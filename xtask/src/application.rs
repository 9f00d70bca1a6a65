//! The application's own unit, which a restore can stop while it replaces what the application has open.

use anyhow::Context as _;
use backup::{Error, ErrorKind};
use xshell::Shell;

use crate::context::Context;
use crate::exit::Signals;
use crate::output::Output;
use crate::schedule::steps::Step;
use crate::schedule::systemd::{self, Manager, Scope, State};
use crate::text::printable;

/// The unit of the settings, as systemd knows it.
pub struct Application<'a> {
    /// Its name.
    pub unit: &'a str,
    manager: Manager<'a>,
    state: State,
}

impl<'a> Application<'a> {
    /// The unit that the settings name: the system's, or else the user's own. None if they name none, or systemd knows
    /// none of that name.
    pub fn find(context: &'a Context<'_>, shell: &'a Shell) -> anyhow::Result<Option<Self>> {
        let unit = context.config.restore.stop_unit.as_str();
        if unit.is_empty() || !systemd::is_booted() {
            return Ok(None);
        }
        for scope in [Scope::System, Scope::User] {
            let manager = Manager::new(scope, shell);
            let state = manager.states(&[unit.to_string()])?.pop().context("ask systemd how the application stands")?;
            if state.get("LoadState") == "loaded" {
                return Ok(Some(Self { unit, manager, state }));
            }
        }
        Ok(None)
    }

    /// Whether it runs.
    pub fn is_active(&self) -> bool {
        self.state.is_active()
    }

    /// Makes sure that it can be stopped, as far as that can be told.
    pub fn require_root(&self, context: &Context<'_>) -> backup::Result<()> {
        let hint = "run it as root, or let the application run on meanwhile: --no-stop";
        self.manager.require_root(context, &["systemctl", "stop", self.unit]).map_err(|error| error.with_hint(hint))
    }

    /// Stops it until what this returns is dropped. No second signal ends this process from now on: it would leave the
    /// application stopped.
    ///
    /// # Errors
    /// Names the command that failed. Then it is started again, for systemd may go on stopping it.
    pub fn stop(&self, output: &'a Output) -> backup::Result<Stopped<'_>> {
        Signals::hold();
        let stopped = Stopped { application: self, output, over: false };
        let stop = self.systemctl("stop");
        output.line(&printable(&format!("$ {stop}")));
        stop.run(self.manager.shell).map_err(|error| match error.downcast::<Error>() {
            Ok(own) => own,
            Err(error) => Error::new(ErrorKind::Io, format!("{error:#}; nothing was changed"))
                .with_hint("mend that, or let the application run on meanwhile: --no-stop"),
        })?;
        Ok(stopped)
    }

    fn systemctl(&self, verb: &str) -> Step {
        self.manager.systemctl(&[verb, self.unit])
    }
}

/// An application that was stopped. Dropped, it is started again.
pub struct Stopped<'a> {
    application: &'a Application<'a>,
    output: &'a Output,
    over: bool,
}

impl Stopped<'_> {
    /// Starts it again.
    ///
    /// # Errors
    /// Names the command that failed.
    pub fn start(mut self) -> backup::Result<()> {
        self.start_again()
    }

    fn start_again(&mut self) -> backup::Result<()> {
        self.over = true;
        let start = self.application.systemctl("start");
        self.output.line(&printable(&format!("$ {start}")));
        start.run_unswerving(self.application.manager.shell).map_err(|error| {
            let message = format!("{} was stopped and could not be started again: {error:#}", self.application.unit);
            Error::new(ErrorKind::Io, message).with_hint(format!("see why (systemctl status), then: {start}"))
        })
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        if !self.over
            && let Err(error) = self.start_again()
        {
            self.output.problem(&error);
        }
    }
}
