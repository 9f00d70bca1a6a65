//! `bench`.

use std::time::Duration;

use serde::Serialize;

use crate::bench::report::{self, Comparison, FollowRow, JobReport, LoadReport, Row};
use crate::bench::{self, Options};
use crate::cli;
use crate::output::Output;
use crate::report::Report;
use crate::sample::folder;
use crate::table::Layout;
use crate::text::size;

pub fn run(output: &Output, args: &cli::Bench) -> anyhow::Result<report::Report> {
    let dir = args.dir.clone().map_or_else(|| folder::default("bench"), Ok)?;
    let options = Options {
        dir: &dir,
        size_mb: args.size_mb,
        runs: args.runs,
        peers: &args.peers,
        jobs: &args.jobs,
        follow_time: Duration::from_secs(args.follow_seconds),
    };
    bench::run(&options, &|step| output.note(step))
}

impl Report for report::Report {
    fn text(&self, output: &Output) {
        show_header(output, self);
        self.jobs.iter().for_each(|job| show_job(output, job));
        self.follow.iter().for_each(|load| show_load(output, load));
        if !self.tool.optimized {
            output.warn("this is a debug build: its times mean nothing");
            output.hint("make a release build: cargo build --release");
        }
    }

    fn document(&self, _: &Output) -> Option<impl Serialize> {
        Some(self)
    }
}

fn show_header(output: &Output, report: &report::Report) {
    let report::Report { tool, machine, peers, sqlite3, not_installed, runs, .. } = report;
    let say = |name: &str, value: &str| output.line(&format!("{name:<15}{value}"));
    say("program", &format!("xtask {}, SQLite {}", tool.version, tool.sqlite));
    say("machine", &format!("{}, {} cores, {}", machine.cpu, machine.cores, size(machine.memory_bytes)));
    say("", &format!("{}, {}", machine.kernel, machine.file_system));
    let versions = peers.iter().map(|peer| format!("{} {}", peer.name, peer.version));
    let versions = versions.chain(sqlite3.iter().map(|version| format!("sqlite3 {version}")));
    list(&say, "peers", &versions.collect::<Vec<_>>());
    list(&say, "not installed", &not_installed.iter().map(ToString::to_string).collect::<Vec<_>>());
    say("rounds", &format!("{runs} after a warm-up; in each, everyone once"));
    say("before a run", "earlier output is removed, the disk is at rest,");
    say("", "what will be read is in the page cache");
    say("after a run", "what it wrote is on disk (fsync, in its time)");
    say("against", "the median over that of a peer: less than 1 is faster");
    say("memory", "anonymous, at its peak, where one process does all");
}

/// Names, a few on each line.
fn list(say: &impl Fn(&str, &str), name: &str, items: &[String]) {
    let lines = items.chunks(5).map(|items| items.join(", "));
    lines.enumerate().for_each(|(at, line)| say(if at == 0 { name } else { "" }, &line));
}

fn show_job(output: &Output, job: &JobReport) {
    let title = format!("== {} ({})", job.job, size(job.database_bytes));
    for line in ["", &title].into_iter().chain(job.about.lines()).chain([""]) {
        output.line(line);
    }
    let any = |is: fn(&Row) -> bool| job.contestants.iter().any(is);
    let columns = [
        (any(|row| row.stored_bytes.is_some()), &["STORED", "RATIO"][..]),
        (any(|row| row.stored_bytes.is_none()), &["CPU"]),
        (any(|row| row.added_bytes.is_some()), &["ADDED"]),
    ];
    let more = columns.iter().filter(|(is_there, _)| *is_there).flat_map(|(_, columns)| *columns);
    let header: Vec<&str> = ["", "MEDIAN", "MIN", "MAX", "AGAINST", "MEMORY"].iter().chain(more).copied().collect();
    let rows: Vec<_> = job.contestants.iter().map(cells).collect();
    let layout = || Layout { header: header.clone(), figures: vec![1, 2, 3, 5, 6, 7], rows: rows.clone() };
    output.table(&[&layout]);
}

fn cells(row: &Row) -> Vec<String> {
    let mut cells = vec![row.name.to_string()];
    cells.extend([row.median_s, row.min_s, row.max_s].map(seconds));
    cells.push(row.against.iter().map(compared).collect::<Vec<_>>().join("\n"));
    cells.push(row.peak_anon_bytes.map(|bytes| size(bytes).to_string()).unwrap_or_default());
    match (row.stored_bytes, row.compression) {
        (Some(stored), Some(compression)) => cells.extend([size(stored).to_string(), format!("{compression:.2}")]),
        _ => cells.push(seconds(row.cpu_s)),
    }
    cells.extend(row.added_bytes.map(|added| size(added).to_string()));
    cells
}

fn show_load(output: &Output, load: &LoadReport) {
    let LoadReport { every_s, seconds, about, .. } = load;
    output.line("");
    output.line(&format!("== follow, {} ({})", load.load, size(load.database_bytes)));
    output.line(&format!("{about}, for {seconds} s; what changed is saved every {every_s} s"));
    output.line("");
    let header = vec!["", "COMMITS/S", "OF ALONE", "LOG", "CPU", "MEMORY", "READ", "ADDED"];
    let rows: Vec<_> = load.followers.iter().map(follow_cells).collect();
    let layout = || Layout { header: header.clone(), figures: (1..8).collect(), rows: rows.clone() };
    output.table(&[&layout]);
}

fn follow_cells(row: &FollowRow) -> Vec<String> {
    let of_alone = row.of_alone.map(|part| format!("{:.1} %", part * 100.0)).unwrap_or_default();
    let mut cells = vec![row.name.into(), format!("{:.1}", row.commits_per_s), of_alone];
    cells.push(size(row.max_log_bytes).to_string());
    if let Some(cost) = &row.cost {
        cells.push(format!("{:.2} %", cost.cpu_share * 100.0));
        cells.push(cost.peak_anon_bytes.map(|bytes| size(bytes).to_string()).unwrap_or_default());
        cells.extend([cost.read_bytes, cost.added_bytes].map(|bytes| size(bytes).to_string()));
    }
    cells
}

fn compared(Comparison { peer, ratio }: &Comparison) -> String {
    ratio.map_or_else(|| format!("   – {peer}"), |ratio| format!("{ratio:.2} {peer}"))
}

/// A time to three digits or so: `0.034 s`, `12.34 s`.
fn seconds(seconds: f64) -> String {
    if seconds < 1.0 { format!("{seconds:.3} s") } else { format!("{seconds:.2} s") }
}
