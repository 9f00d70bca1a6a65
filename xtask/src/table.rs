//! Tables: each column is as wide as its widest cell, with a blank between two columns.

use crate::text::{shown, width};

/// One way to arrange a table. Cells may have several lines.
pub struct Layout {
    /// The columns' names.
    pub header: Vec<&'static str>,
    /// The columns that hold figures, counted from 0. They are aligned to the right.
    pub figures: Vec<usize>,
    /// The rows.
    pub rows: Vec<Vec<String>>,
}

impl Layout {
    /// The lines to print. They are made one by one, so that ten thousand rows aren't copied.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let widths = self.widths();
        let header = self.header.iter().map(ToString::to_string).collect::<Vec<_>>();
        let rows = std::iter::once(header).map(std::borrow::Cow::Owned);
        let rows = rows.chain(self.rows.iter().map(std::borrow::Cow::Borrowed));
        rows.flat_map(move |row| self.lines_of(&row, &widths))
    }

    /// How many columns of a terminal the table needs.
    pub fn width(&self) -> usize {
        let widths = self.widths();
        widths.iter().sum::<usize>() + widths.len().saturating_sub(1)
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.header.iter().map(|name| cell_width(name)).collect();
        for row in &self.rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = (*widest).max(cell_width(cell));
            }
        }
        widths
    }

    fn lines_of(&self, row: &[String], widths: &[usize]) -> Vec<String> {
        let height = row.iter().map(|cell| cell.split('\n').count()).max().unwrap_or(0);
        let line = |at: usize| {
            let mut line = String::new();
            for (column, (cell, widest)) in row.iter().zip(widths).enumerate() {
                let text = cell.split('\n').nth(at).unwrap_or_default();
                let blanks = " ".repeat(widest.saturating_sub(width(text)));
                let is_figure = self.figures.contains(&column);
                let (before, after) = if is_figure { (blanks.as_str(), "") } else { ("", blanks.as_str()) };
                line.extend([before, &shown(text), after, " "]);
            }
            line.truncate(line.trim_end().len());
            line
        };
        (0..height).map(line).collect()
    }
}

fn cell_width(cell: &str) -> usize {
    cell.split('\n').map(width).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{Tone, paint};

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_figures_end_at_the_right() {
        let rows = [["a", "1 kB", "x"], ["long\nname", "12 B", ""]];
        let rows = rows.map(|row| row.map(String::from).to_vec()).to_vec();
        let layout = Layout { header: vec!["ID", "SIZE", "PIN"], figures: vec![1], rows };
        assert_eq!(layout.lines().collect::<Vec<_>>(), ["ID   SIZE PIN", "a    1 kB x", "long 12 B", "name"]);
        assert_eq!(layout.width(), 13);
    }

    #[test]
    fn colours_take_no_room_and_what_a_terminal_could_obey_is_made_visible() {
        let rows = vec![vec![paint(Tone::Bad, "no"), "b".into()], vec!["\u{1b}[1m".into(), "b".into()]];
        let layout = Layout { header: vec!["", ""], figures: vec![], rows };
        let lines: Vec<String> = layout.lines().collect();
        assert_eq!(lines[1], format!("{}   b", shown(&paint(Tone::Bad, "no"))));
        assert_eq!(lines[2], "\u{fffd}[1m b");
    }
}
