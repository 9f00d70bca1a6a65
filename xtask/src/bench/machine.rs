//! The machine: without it, figures mean nothing.

use std::fs;
use std::path::Path;
use std::thread::available_parallelism;

use serde::Serialize;
use xshell::cmd;

use crate::step;

const UNKNOWN: &str = "unknown";

/// A machine, and the file system that is measured on it.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// How many cores this process may use.
    pub cores: usize,
    /// Its memory.
    pub memory_bytes: u64,
    /// The kernel's name, release and architecture.
    pub kernel: String,
    /// The type of the file system.
    pub file_system: String,
}

impl Machine {
    /// This machine, with the file system of `dir`. Unknown values are `unknown`.
    pub fn of(dir: &Path) -> Self {
        let uname = rustix::system::uname();
        let kernel = [uname.sysname(), uname.release(), uname.machine()].map(|part| part.to_string_lossy());
        Self {
            cpu: value("/proc/cpuinfo", "model name").unwrap_or_else(|| UNKNOWN.into()),
            cores: cores(),
            memory_bytes: kilobytes("/proc/meminfo", "MemTotal").unwrap_or(0),
            kernel: kernel.join(" "),
            file_system: file_system(dir).unwrap_or_else(|| UNKNOWN.into()),
        }
    }
}

/// How many cores this process may use.
pub fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

fn file_system(dir: &Path) -> Option<String> {
    let shell = step::shell().ok()?;
    cmd!(shell, "findmnt --noheadings --output FSTYPE --target {dir}").quiet().ignore_stderr().read().ok()
}

/// The size in bytes for `key` in a file of the kernel, which has it in KiB.
pub fn kilobytes(file: &str, key: &str) -> Option<u64> {
    let size: u64 = value(file, key)?.strip_suffix(" kB")?.parse().ok()?;
    Some(size * 1024)
}

/// The first value for `key` in a file of the kernel, which has lines `key : value`.
pub fn value(file: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_string())
}
