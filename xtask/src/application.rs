//! The application's own unit, which a restore can stop while it replaces files that the application has open.
//!
//! Once root has become the project's owner, it can't stop the unit any more. So before that it starts a process that
//! stays root and can only stop and start this one unit: a [`Switch`].

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, ensure};
use backup::{Error, ErrorKind};
use xshell::Shell;

use crate::context::Context;
use crate::exit::Signals;
use crate::output::Output;
use crate::step::{self, Step};
use crate::systemd::manager::Manager;
use crate::systemd::state::State;
use crate::systemd::{self, Scope};
use crate::text::printable;
use crate::user::account;

/// The application's unit, as systemd knows it.
pub struct Application<'a> {
    /// Its name.
    pub unit: &'a str,
    manager: Manager<'a>,
    state: State,
    switch: RefCell<Option<Switch>>,
}

impl<'a> Application<'a> {
    /// The unit of that name: the system's, or else the user's own; none if systemd knows neither. A `switch` can stop
    /// and start only the system's.
    pub fn find(shell: &'a Shell, unit: &'a str, switch: Option<Switch>) -> anyhow::Result<Option<Self>> {
        if unit.is_empty() || !systemd::is_booted() {
            return Ok(None);
        }
        for scope in [Scope::System, Scope::User] {
            let manager = Manager::new(scope, shell);
            let state = manager.states(&[unit.to_string()])?.pop().context("ask systemd how the application stands")?;
            if state.get("LoadState") == "loaded" {
                let switch = RefCell::new(switch.filter(|_| scope == Scope::System));
                return Ok(Some(Self { unit, manager, state, switch }));
            }
        }
        Ok(None)
    }

    /// Whether it runs.
    pub fn is_active(&self) -> bool {
        self.state.is_active()
    }

    /// Makes sure that this process may stop it, as far as can be known.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`]; [`ErrorKind::InvalidInput`] if root has to name the unit. The hint says what to
    /// do instead.
    pub fn require_root(&self, context: &Context<'_>) -> backup::Result<()> {
        if self.switch.borrow().is_some() {
            return Ok(());
        }
        if let Some(account) = account::became().filter(|_| self.manager.scope == Scope::System) {
            let message = format!("root doesn't stop a unit named in settings that {} can write", account.name);
            let hint = format!("name it: --stop {}, or keep the application running: --no-stop", self.unit);
            return Err(Error::new(ErrorKind::InvalidInput, message).with_hint(hint));
        }
        let hint = "run it as root, or keep the application running: --no-stop";
        self.manager.require_root(context, &["systemctl", "stop", self.unit]).map_err(|error| error.with_hint(hint))
    }

    /// Stops it until the result is dropped. From then on, a second signal doesn't end this process, or the application
    /// would stay stopped.
    ///
    /// # Errors
    /// Names the command that failed. Then the unit is started again: systemd may still be stopping it.
    pub fn stop(&self, output: &'a Output) -> backup::Result<Outage<'_>> {
        Signals::hold();
        let stopped = Outage { application: self, output, over: false };
        let stop = self.systemctl("stop");
        output.line(&printable(&format!("$ {stop}")));
        let ended = self.switched("stop").unwrap_or_else(|| stop.run(self.manager.shell).map(drop));
        ended.map_err(|error| match error.downcast::<Error>() {
            Ok(own) => own,
            Err(error) => Error::new(ErrorKind::Io, format!("{error:#}; nothing was changed"))
                .with_hint("fix that, or keep the application running: --no-stop"),
        })?;
        Ok(stopped)
    }

    /// Runs the `verb` through the switch; none if there is no switch.
    fn switched(&self, verb: &str) -> Option<anyhow::Result<()>> {
        self.switch.borrow_mut().as_mut().map(|switch| switch.turn(verb))
    }

    fn systemctl(&self, verb: &str) -> Step {
        match &*self.switch.borrow() {
            Some(_) => Step::new(["systemctl", verb, self.unit]),
            None => self.manager.systemctl(&[verb, self.unit]),
        }
    }
}

/// The time during which the application is stopped. When dropped, it starts the application again.
pub struct Outage<'a> {
    application: &'a Application<'a>,
    output: &'a Output,
    over: bool,
}

impl Outage<'_> {
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
        let ended = self.application.switched("start");
        ended.unwrap_or_else(|| start.run_unswerving(self.application.manager.shell)).map_err(|error| {
            let message = format!("{} was stopped and could not be started again: {error:#}", self.application.unit);
            Error::new(ErrorKind::Io, message).with_hint(format!("see why (systemctl status), then: {start}"))
        })
    }
}

impl Drop for Outage<'_> {
    fn drop(&mut self) {
        if !self.over
            && let Err(error) = self.start_again()
        {
            self.output.problem(&error);
        }
    }
}

/// The script of the process that stays root; its argument is the unit. It reads one verb per line and answers with one
/// line: the exit status of `systemctl` and its output. Signals don't end it, but the end of its input does.
const SWITCH: &str = r#"trap '' HUP INT TERM
while read -r verb; do
    case $verb in
        stop | start) said=$(systemctl "$verb" -- "$1" 2>&1); printf '%s %s\n' "$?" "$(echo "$said" | tr '\n' ' ')" ;;
    esac
done"#;

/// A process that runs as root and can only stop and start one unit. It ends when this is dropped.
#[derive(Debug)]
pub struct Switch {
    unit: String,
    verbs: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Switch {
    /// A switch for `unit`, which must run as the user called `name` with the number `uid`. None if systemd knows no
    /// such unit.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the unit runs as somebody else.
    pub fn new(unit: &str, name: &str, uid: u32) -> anyhow::Result<Option<Self>> {
        if !systemd::is_booted() {
            return Ok(None);
        }
        let shell = step::shell()?;
        let state = Manager::new(Scope::System, &shell).states(&[unit.to_string()])?.pop();
        let state = state.filter(|state| state.get("LoadState") == "loaded");
        let Some(state) = state else { return Ok(None) };
        let user = Some(state.get("User")).filter(|user| !user.is_empty()).unwrap_or("root");
        if user != name && user != uid.to_string() {
            let message = format!("{unit} runs as {user}, and not as {name}, whose project this is");
            let hint = "keep it running: --no-stop; or stop it and start it again by hand";
            return Err(Error::new(ErrorKind::InvalidInput, message).with_hint(hint).into());
        }
        let mut command = Command::new("sh");
        command.args(["-c", SWITCH, "sh", unit]).current_dir("/");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("start sh")?;
        let (verbs, answers) = (child.stdin.take(), child.stdout.take());
        let verbs = verbs.context("write to sh")?;
        Ok(Some(Self { unit: unit.into(), verbs, answers: BufReader::new(answers.context("read from sh")?) }))
    }

    fn turn(&mut self, verb: &str) -> anyhow::Result<()> {
        let command = format!("systemctl {verb} {}", self.unit);
        let mut answer = String::new();
        writeln!(self.verbs, "{verb}")
            .and_then(|()| self.answers.read_line(&mut answer).map(drop))
            .context("ask root")?;
        let (status, said) = answer.trim_end().split_once(' ').unwrap_or((answer.trim_end(), ""));
        ensure!(status == "0", "`{command}` failed (exit status: {status}): {}", said.trim());
        Ok(())
    }
}
