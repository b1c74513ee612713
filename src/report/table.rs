//! Tables without borders, for a terminal. A table that is too wide leaves out the columns that its owner can do
//! without; if that is not enough, each row becomes a card with a line for each column. No cell is ever cut.

use std::fmt::Write as _;

use textwrap::core::display_width;

use super::style::{Role, Style};
use super::text::hanging;

/// Blanks between two columns.
const GAP: usize = 2;

/// Rows of cells under a heading.
#[derive(Clone, Debug, Default)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    /// The columns that may be left out, the most dispensable first.
    dispensable: Vec<usize>,
    /// The columns that are aligned to the left.
    left: Vec<usize>,
}

impl Table {
    /// A table whose first column is aligned to the left and the others to the right. Without a heading, `header` is
    /// empty. A row may be shorter than others.
    pub fn new(header: &[&str], rows: Vec<Vec<String>>) -> Table {
        let header = header.iter().map(|&title| title.to_owned()).collect();
        Table { header, rows, dispensable: Vec::new(), left: vec![0] }
    }

    /// These columns may be left out where the table is too wide, the first of them first.
    pub fn dispensable(self, columns: &[usize]) -> Table {
        Table { dispensable: columns.to_vec(), ..self }
    }

    /// These columns are aligned to the left.
    pub fn left(self, columns: &[usize]) -> Table {
        Table { left: columns.to_vec(), ..self }
    }

    /// The lines of the table, without a line break at the end.
    pub fn render(&self, style: Style) -> String {
        let mut columns: Vec<usize> = (0..self.all().map(Vec::len).max().unwrap_or(0)).collect();
        let mut rest = self.dispensable.iter();
        while self.width(&columns) > style.columns() {
            let Some(dispensable) = rest.next() else { return self.cards(style) };
            columns.retain(|column| column != dispensable);
        }
        let lines = self.all().map(|row| self.line(row, &columns));
        let header = self.header.iter().any(|title| !title.is_empty());
        let painted = lines.enumerate().map(|(n, line)| match n {
            0 if header => style.paint(Role::Quiet, &line),
            _ => line,
        });
        painted.collect::<Vec<_>>().join("\n")
    }

    fn all(&self) -> impl Iterator<Item = &Vec<String>> {
        Some(&self.header).filter(|header| !header.is_empty()).into_iter().chain(&self.rows)
    }

    fn column_width(&self, column: usize) -> usize {
        self.all().filter_map(|row| row.get(column)).map(|cell| display_width(cell)).max().unwrap_or(0)
    }

    fn width(&self, columns: &[usize]) -> usize {
        let cells: usize = columns.iter().map(|column| self.column_width(*column)).sum();
        cells + GAP * columns.len().saturating_sub(1)
    }

    fn line(&self, row: &[String], columns: &[usize]) -> String {
        let mut line = String::new();
        for (n, column) in columns.iter().enumerate() {
            let cell = row.get(*column).map_or("", String::as_str);
            let room = " ".repeat(self.column_width(*column) - display_width(cell));
            let gap = " ".repeat(if n == 0 { 0 } else { GAP });
            let _ = match self.left.contains(column) {
                true => write!(line, "{gap}{cell}{room}"),
                false => write!(line, "{gap}{room}{cell}"),
            };
        }
        line.trim_end().to_owned()
    }

    /// A card for each row: its first cell, and below it a line for each other cell that is not empty. Without titles,
    /// a row is a line as it is.
    fn cards(&self, style: Style) -> String {
        if self.header.is_empty() {
            let line = |row: &Vec<String>| hanging(&row.join("  "), "  ", style);
            return self.rows.iter().map(line).collect::<Vec<_>>().join("\n");
        }
        let titles = self.header.iter().skip(1).map(|title| display_width(title)).max().unwrap_or(0);
        let card = |row: &Vec<String>| {
            let mut text = style.paint(Role::Strong, row.first().map_or("", String::as_str));
            for (column, cell) in row.iter().enumerate().skip(1).filter(|(_, cell)| !cell.is_empty()) {
                let title = self.header.get(column).map_or("", String::as_str);
                let room = " ".repeat(titles - display_width(title));
                let _ = write!(text, "\n  {}{room}  {cell}", style.paint(Role::Quiet, title));
            }
            text
        };
        self.rows.iter().map(card).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        let rows = vec![row(["epoll", "pass", "127,000/s", "2.1 %"]), row(["io-uring", "pass", "9/s", "12 %"])];
        Table::new(&["server", "verdict", "round trips", "spread"], rows).left(&[0, 1])
    }

    #[test]
    fn a_table_reads_like_this() {
        insta::assert_snapshot!(table().render(Style::PLAIN), @r"
        server    verdict  round trips  spread
        epoll     pass       127,000/s   2.1 %
        io-uring  pass             9/s    12 %
        ");
    }

    #[test]
    fn a_narrow_one_leaves_out_columns_and_a_narrower_one_is_cards() {
        let narrow = Style::PLAIN.indented(100 - 30);
        insta::assert_snapshot!(table().dispensable(&[3, 1]).render(narrow), @r"
        server    verdict  round trips
        epoll     pass       127,000/s
        io-uring  pass             9/s
        ");
        insta::assert_snapshot!(table().render(narrow), @r"
        epoll
          verdict      pass
          round trips  127,000/s
          spread       2.1 %
        io-uring
          verdict      pass
          round trips  9/s
          spread       12 %
        ");
    }

    #[test]
    fn without_titles_a_row_that_is_too_wide_is_a_paragraph() {
        let row = ["server", "epoll", "588,658,680 in, 588,323,412 out bytes"].map(str::to_owned);
        let text = Table::new(&[], vec![row.to_vec()]).render(Style::PLAIN.indented(100 - 40));
        assert_eq!(text, "server  epoll  588,658,680 in,\n  588,323,412 out bytes");
    }

    #[test]
    fn colour_takes_no_room() {
        let style = Style::new(100, true);
        let mut coloured = table();
        coloured.rows[0][1] = style.paint(Role::Good, "pass");
        let text = anstream::adapter::strip_str(&coloured.render(style)).to_string();
        assert_eq!(text, table().render(Style::PLAIN));
    }
}
