//! A throw-away machine: a real systemd as PID 1 of namespaces of its own, over an overlay of this machine's root.
//!
//! What it writes ends with it. Its clock and kernel are this machine's. It needs root, cgroup v2, util-linux, systemd,
//! D-Bus and `libpam-systemd`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{CommandOutput, wait_for};

/// The first program in the namespaces: it builds the machine's root in `$1`, changes to it, and becomes systemd. It is
/// a shell script, since Rust can't safely do this between `fork` and `exec`. It listens on `$1/ready`, see
/// `sd_notify(3)`.
const INIT: &str = r#"
    cd "$1"
    mkdir disk root
    mount -t tmpfs -o mode=755 disk disk
    mkdir disk/upper disk/work
    mount -t overlay -o "lowerdir=/,upperdir=disk/upper,workdir=disk/work" overlay root
    mount -t proc proc root/proc
    mount --bind root/proc/sys root/proc/sys
    mount -o remount,bind,ro root/proc/sys
    mount -t sysfs -o ro sysfs root/sys
    mount -t cgroup2 cgroup2 root/sys/fs/cgroup
    for place in tmp run dev; do mount -t tmpfs -o mode=755 $place root/$place; done
    chmod 1777 root/tmp
    for device in null zero full random urandom tty; do
        touch root/dev/$device
        mount --bind /dev/$device root/dev/$device
    done
    mkdir root/dev/pts root/run/before
    mount -t devpts -o newinstance,ptmxmode=0666 devpts root/dev/pts
    ln -s pts/ptmx root/dev/ptmx
    ln -s /proc/self/fd root/dev/fd
    touch root/run/ready
    mount --bind ready root/run/ready
    rm -rf root/etc/systemd/system/*.wants root/var/lib/systemd/timers root/var/lib/systemd/linger
    tr -d - < /proc/sys/kernel/random/uuid > root/etc/machine-id
    printf '%s\n' '[Unit]' 'Requires=basic.target' 'After=basic.target' \
        'Wants=dbus.socket systemd-logind.service' > root/etc/systemd/system/machine.target
    hostname machine
    cd root
    pivot_root . run/before
    umount -l /run/before
    mount --make-rshared /
    exec env -i container=test PATH=/usr/sbin:/usr/bin NOTIFY_SOCKET=/run/ready \
        /lib/systemd/systemd --system --unit=machine.target < /dev/null > /dev/null 2>&1
"#;

/// A running machine. It ends when this is dropped.
pub struct Machine {
    unshare: Child,
    init: String,
    cgroup: PathBuf,
    _folder: TempDir,
}

impl Machine {
    /// Boots a machine.
    pub fn boot() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let folder = tempfile::tempdir().unwrap();
        let ready = UnixDatagram::bind(folder.path().join("ready")).unwrap();
        let unified = Path::new("/sys/fs/cgroup/unified");
        let cgroups = if unified.exists() { unified } else { Path::new("/sys/fs/cgroup") };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let cgroup = cgroups.join(format!("machine-{}-{number}", std::process::id()));
        fs::create_dir(&cgroup).unwrap();
        // Killed when this process ends, in any way: --kill-child passes it on.
        let enter = "echo $$ > \"$1/cgroup.procs\"; shift; exec setpriv --pdeathsig KILL \
                     unshare --mount --pid --uts --ipc --net --cgroup --fork --kill-child --propagation private \
                     sh -euc \"$@\"";
        let unshare = Command::new("sh")
            .args(["-euc", enter, "enter"])
            .args([&cgroup, Path::new(INIT), Path::new("init"), folder.path()])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut machine = Self { init: String::new(), unshare, cgroup, _folder: folder };
        machine.wait_until_up(&ready);
        machine
    }

    fn wait_until_up(&mut self, ready: &UnixDatagram) {
        ready.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut message = [0; 4096];
        wait_for("the machine to boot", || {
            assert!(self.unshare.try_wait().unwrap().is_none(), "the machine did not boot");
            let length = ready.recv(&mut message).unwrap_or(0);
            message[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
        });
        let pid = self.unshare.id();
        self.init = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap().trim().to_string();
    }

    /// The path of one of the machine's files, as seen from outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.init))
    }

    pub fn exists(&self, inside: &str) -> bool {
        self.path(inside).exists()
    }

    pub fn read(&self, inside: &str) -> String {
        fs::read_to_string(self.path(inside)).unwrap()
    }

    pub fn write(&self, inside: &str, text: &str) {
        fs::write(self.path(inside), text).unwrap();
    }

    /// Puts the program under test at `inside`, owned by `owner`.
    pub fn put_program(&self, inside: &str, owner: &str) {
        let path = self.path(inside);
        self.try_run(owner, &format!("mkdir -p \"$(dirname '{inside}')\"")).expect(0);
        fs::copy(env!("CARGO_BIN_EXE_xtask"), &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self.run(&format!("chown {owner}: {inside}"));
    }

    /// Runs a script as root, which must succeed. Returns its stdout.
    #[track_caller]
    pub fn run(&self, script: &str) -> String {
        let ran = self.try_run("root", script);
        ran.expect(0);
        ran.stdout
    }

    /// Runs a script as `user`, who has not logged in.
    pub fn try_run(&self, user: &str, script: &str) -> CommandOutput {
        CommandOutput::of(&mut self.command(user, script))
    }

    /// A script as a command of `user`, ready to run.
    pub fn command(&self, user: &str, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init, "--all", "--", "runuser", "-u", user, "--"]);
        command.args(["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TZ=UTC"]);
        command.args([&format!("HOME=/home/{user}"), "sh", "-euc", script]).stdin(Stdio::null());
        command
    }
}

/// A script that runs at a terminal, as a person would see it.
pub struct Terminal {
    process: Child,
    keyboard: ChildStdin,
    screen: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Machine {
    /// Runs a script as `user` at a terminal of its own.
    pub fn at_terminal(&self, user: &str, script: &str) -> Terminal {
        let quoted = format!("'{}'", script.replace('\'', r"'\''"));
        let mut command = self.command(user, &format!("exec script -qefc {quoted} /dev/null"));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (keyboard, mut output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let screen = Arc::new(Mutex::new(String::new()));
        let seen = Arc::clone(&screen);
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                seen.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..length]));
            }
        });
        Terminal { process, keyboard, screen, reader }
    }
}

impl Terminal {
    /// Presses keys; `\x03` is Ctrl-C.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    /// All output so far.
    pub fn seen(&self) -> String {
        self.screen.lock().unwrap().replace("\r\n", "\n")
    }

    /// Waits for the end; returns the exit code and all output.
    pub fn wait(mut self) -> (i32, String) {
        // The input stays open: without it, the terminal would be hung up.
        let keyboard = self.keyboard;
        let status = self.process.wait().unwrap();
        drop(keyboard);
        self.reader.join().unwrap();
        let screen = self.screen.lock().unwrap().replace("\r\n", "\n");
        (status.code().unwrap_or(-1), screen)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It takes all of the machine's processes with it.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        let groups = || Command::new("find").arg(&self.cgroup).args(["-depth", "-type", "d", "-delete"]).output();
        for _ in 0..200 {
            if !self.cgroup.exists() || groups().is_ok_and(|output| output.status.success()) {
                return;
            }
            // The kernel takes a moment to take the processes out of their groups, and gives no sign.
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
