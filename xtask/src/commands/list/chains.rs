//! The lines of the table: a chain is one, unless its points are asked for.

use std::collections::BTreeMap;

use backup::BackupId;

use super::row::Row;

/// A line of the table.
pub struct Line<'a> {
    /// The backup; of a chain, the oldest one that is there.
    pub row: &'a Row,
    /// The increments of the chain, newest first, if the line stands for them as well.
    pub increments: Vec<&'a Row>,
    /// Whether it belongs below the line of its full backup.
    pub is_point: bool,
}

/// A line for each backup and each chain, newest first, of rows in the same order. With `points`, also one for each
/// increment.
pub fn lines(rows: &[Row], points: bool) -> Vec<Line<'_>> {
    let mut chains: BTreeMap<BackupId, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        chains.entry(row.first).or_default().push(row);
    }
    let mut lines = Vec::new();
    for mut chain in chains.into_values().rev() {
        let Some(row) = chain.pop() else { continue };
        let (points, increments) = if points { (chain, Vec::new()) } else { (Vec::new(), chain) };
        lines.push(Line { row, increments, is_point: false });
        lines.extend(points.into_iter().map(|row| Line { row, increments: Vec::new(), is_point: true }));
    }
    lines
}

impl<'a> Line<'a> {
    /// All backups that it stands for, newest first.
    pub fn rows(&self) -> impl Iterator<Item = &'a Row> {
        self.increments.iter().copied().chain([self.row])
    }

    /// The newest of them.
    pub fn newest(&self) -> &'a Row {
        self.increments.first().copied().unwrap_or(self.row)
    }

    /// What is wrong with the oldest of them that can't be used, and how many there are.
    pub fn problem(&self) -> Option<String> {
        let problems: Vec<&String> = self.rows().filter_map(|row| row.problem.as_ref()).collect();
        let oldest = problems.last()?;
        Some(match problems.len() - 1 {
            0 => (*oldest).clone(),
            1 => format!("{oldest}; nor can 1 later point be used"),
            more => format!("{oldest}; nor can {more} later points be used"),
        })
    }
}

#[cfg(test)]
mod tests {
    use backup::Trigger;
    use backup::manifest::BackupType;

    use super::super::row::{Artifact, Standing};
    use super::super::table;
    use super::*;

    fn row(id: &str, parent: Option<&str>, first: &str) -> Row {
        let id: BackupId = id.parse().unwrap();
        let (name, kind) = ("sessions_db", if parent.is_some() { "increment" } else { "database" });
        Row {
            id,
            kind: if parent.is_some() { BackupType::Increment } else { BackupType::Full },
            parent: parent.map(|parent| parent.parse().unwrap()),
            first: first.parse().unwrap(),
            inherited: Vec::new(),
            created_at: id.time().fixed_offset(),
            age_s: 60,
            trigger: Some(Trigger::Timer),
            status: Standing::Complete,
            artifacts: vec![Artifact { name: name.into(), kind, file: String::new(), bytes: None, plain_bytes: None }],
            bytes: 100,
            plain_bytes: Some(500),
            pinned: false,
            last_proved: None,
            proved_age_s: None,
            problem: None,
            collapses: Vec::new(),
            accepted: false,
        }
    }

    const FULL: &str = "20261127_020000";
    const FIRST: &str = "20261127_093000";
    const SECOND: &str = "20261128_093000";

    /// Two full backups; the older one has two increments, of which the second was made after the newer one.
    fn rows() -> Vec<Row> {
        let newer = "20261128_020000";
        let increments = [row(SECOND, Some(FIRST), FULL), row(newer, None, newer), row(FIRST, Some(FULL), FULL)];
        increments.into_iter().chain([row(FULL, None, FULL)]).collect()
    }

    fn ids(lines: &[Line<'_>]) -> Vec<String> {
        lines.iter().map(|line| format!("{}{}", if line.is_point { "- " } else { "" }, line.row.id)).collect()
    }

    #[test]
    fn a_chain_is_one_line_and_its_points_come_below_it() {
        let rows = rows();
        assert_eq!(ids(&lines(&rows, false)), ["20261128_020000", FULL]);
        let points = [FULL, &format!("- {SECOND}"), &format!("- {FIRST}")].map(String::from);
        assert_eq!(ids(&lines(&rows, true)), [&["20261128_020000".to_string()][..], &points].concat());
    }

    #[test]
    fn a_chain_shows_its_points_and_what_they_take_in_80_columns_as_well() {
        let mut rows = rows();
        (rows[0].status, rows[2].proved_age_s, rows[0].pinned) = (Standing::Damaged, Some(120), true);
        let lines = lines(&rows, false);
        let wide = table::wide(&lines).rows;
        assert!(wide[1][0].starts_with("20261127_020000 full, 3 points to 2026-11-28 "), "{wide:?}");
        assert!(wide[1][4].contains("damaged") && !wide[0][4].contains("damaged"), "{wide:?}");
        assert_eq!(
            (wide[0][6].as_str(), &wide[1][6..]),
            ("100 B", &["300 B", "500 B", "yes", "2m ago"].map(String::from)[..])
        );
        let narrow = table::narrow(&lines);
        let id = narrow.rows[1][0].lines().collect::<Vec<_>>();
        assert!(narrow.width() <= 80 && id.iter().all(|line| line.len() <= 16), "{narrow:?}", narrow = narrow.rows);
        assert_eq!((id.len(), id[2]), (4, "3 points to"));
        let same_day = super::lines(&rows[2..], false);
        assert_eq!(table::wide(&same_day).rows[0][0].len(), "20261127_020000 full, 2 points to 09:30".len());
    }

    #[test]
    fn what_is_wrong_with_a_chain_is_said_once() {
        let mut rows = rows();
        rows[2].problem = Some("part.rdiff.zst is missing".into());
        let problem = |rows: &[Row]| lines(rows, false)[1].problem().unwrap();
        assert_eq!(problem(&rows), "part.rdiff.zst is missing");
        rows[0].problem = Some("another".into());
        assert_eq!(problem(&rows), "part.rdiff.zst is missing; nor can 1 later point be used");
    }
}
