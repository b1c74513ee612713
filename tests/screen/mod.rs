//! What a terminal shows of what is written to it: text, line breaks, and the few sequences that the program uses. Any
//! other one fails the test.

/// A terminal without a lower end, so that nothing scrolls away.
pub(crate) struct Screen {
    columns: usize,
    lines: Vec<Vec<char>>,
    row: usize,
    column: usize,
    saved: (usize, usize),
    widest_redrawn: usize,
}

impl Screen {
    /// The screen of a terminal of this width after this text.
    pub(crate) fn showing(columns: usize, text: &str) -> Screen {
        let mut screen =
            Screen { columns, lines: vec![Vec::new()], row: 0, column: 0, saved: (0, 0), widest_redrawn: 0 };
        let mut rest = text;
        while let Some(letter) = rest.chars().next() {
            rest = &rest[letter.len_utf8()..];
            match letter {
                '\u{1b}' => rest = screen.obey(rest),
                '\r' => screen.column = 0,
                '\n' => screen.go_to_row(screen.row + 1),
                letter => screen.put(letter),
            }
        }
        screen
    }

    /// All lines, without blanks at their ends.
    pub(crate) fn text(&self) -> String {
        self.lines.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned() + "\n").collect()
    }

    /// Columns of the widest line that was drawn to be overwritten.
    pub(crate) fn widest_redrawn(&self) -> usize {
        self.widest_redrawn
    }

    fn go_to_row(&mut self, row: usize) {
        self.row = row;
        self.lines.resize(self.lines.len().max(row + 1), Vec::new());
    }

    fn put(&mut self, letter: char) {
        if self.column == self.columns {
            self.go_to_row(self.row + 1);
            self.column = 0;
        }
        let line = &mut self.lines[self.row];
        line.resize(line.len().max(self.column + 1), ' ');
        line[self.column] = letter;
        self.column += 1;
    }

    /// Obeys a sequence, of which the escape is read, and returns what follows it.
    fn obey<'t>(&mut self, text: &'t str) -> &'t str {
        if let Some(rest) = text.strip_prefix('7') {
            self.saved = (self.row, self.column);
            return rest;
        }
        if let Some(rest) = text.strip_prefix('8') {
            (self.row, self.column) = self.saved;
            return rest;
        }
        let parameters = text.strip_prefix('[').unwrap_or_else(|| panic!("unknown sequence: {:?}", text.get(..8)));
        let end = parameters.find(|c: char| c.is_ascii_alphabetic()).expect("the sequence is whole");
        let number = parameters[..end].parse().unwrap_or(0);
        match &parameters[end..=end] {
            "m" => {}
            "K" => {
                self.widest_redrawn = self.widest_redrawn.max(self.column);
                self.lines[self.row].truncate(self.column);
            }
            "J" => {
                self.lines.truncate(self.row + 1);
                self.lines[self.row].truncate(self.column);
            }
            "A" => self.row -= number,
            other => panic!("unknown sequence: {other}"),
        }
        &parameters[end + 1..]
    }
}
