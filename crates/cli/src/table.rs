//! Tables for people: aligned, at most 100 columns wide. Every cell is stripped of what could steer a terminal.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::plain::plain;

/// Widest line, in columns.
const WIDTH: usize = 100;
/// Between two columns.
const GAP: usize = 2;

/// One column of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    title: &'static str,
    right: bool,
    shown: bool,
    /// May be cut to this width where the table is too wide; none is never cut.
    least: Option<usize>,
}

impl Column {
    /// Text that is never cut.
    pub(crate) const fn whole(title: &'static str) -> Self {
        Self { title, right: false, shown: true, least: None }
    }

    /// Text that may be cut, but not to less than `least` columns.
    pub(crate) const fn cut(title: &'static str, least: usize) -> Self {
        Self { title, right: false, shown: true, least: Some(least) }
    }

    /// A number.
    pub(crate) const fn number(title: &'static str) -> Self {
        Self { title, right: true, shown: true, least: None }
    }

    /// Left out unless it is needed.
    pub(crate) const fn only_if(self, shown: bool) -> Self {
        Self { shown, ..self }
    }
}

/// A table.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    columns: [Column; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(columns: [Column; N]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| plain(&cell)));
    }

    /// Lines with their line ends, the first of them the titles.
    pub(crate) fn render(&self) -> String {
        let widths = self.widths();
        let titles = self.columns.map(|column| column.title.to_owned());
        std::iter::once(&titles).chain(&self.rows).map(|row| self.line(row, &widths)).collect()
    }

    fn widths(&self) -> [usize; N] {
        let mut widths = self.columns.map(|column| column.title.width());
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.width().max(*width);
            }
        }
        for (width, _) in widths.iter_mut().zip(&self.columns).filter(|(_, column)| !column.shown) {
            *width = 0;
        }
        let shown = self.columns.iter().filter(|column| column.shown).count();
        let room = WIDTH.saturating_sub(GAP * shown.saturating_sub(1));
        while widths.iter().sum::<usize>() > room {
            // The widest gives first, so that short texts stay whole.
            let slack = |index: &usize| self.columns[*index].least.is_some_and(|least| widths[*index] > least.max(self.columns[*index].title.width()));
            match (0..N).filter(slack).max_by_key(|&index| widths[index]) {
                Some(index) => widths[index] -= 1,
                None => break,
            }
        }
        widths
    }

    fn line(&self, row: &[String; N], widths: &[usize; N]) -> String {
        let mut line = String::new();
        for ((cell, column), &width) in row.iter().zip(&self.columns).zip(widths).filter(|((_, column), _)| column.shown) {
            let cell = if column.least.is_some() { shorten(cell, width) } else { cell.clone() };
            let pad = " ".repeat(width.saturating_sub(cell.width()));
            if column.right {
                line.push_str(&pad);
                line.push_str(&cell);
            } else {
                line.push_str(&cell);
                line.push_str(&pad);
            }
            line.push_str(&" ".repeat(GAP));
        }
        format!("{}\n", line.trim_end())
    }
}

/// The text in at most `width` columns; what was cut is shown as `…`.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 1;
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used > width {
            break;
        }
        kept.push(character);
    }
    format!("{}…", kept.trim_end())
}

/// A list of sentences, each begun by `- ` and broken at blanks to fit.
pub(crate) fn bullets<'a>(sentences: impl IntoIterator<Item = &'a String>) -> String {
    sentences.into_iter().map(|sentence| wrap(&plain(sentence), "  - ", "    ")).collect()
}

/// A text in lines of at most 100 columns; the first begins with `first`, the others with `rest`.
pub(crate) fn wrap(text: &str, first: &str, rest: &str) -> String {
    let mut out = first.to_owned();
    let mut column = first.width();
    let mut fresh = true;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if !fresh && column + 1 + word.width() > WIDTH {
            out.push('\n');
            out.push_str(rest);
            column = rest.width();
            fresh = true;
        }
        if !fresh {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += word.width();
        fresh = false;
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn columns_line_up_whatever_is_in_them() {
        let mut table = Table::new([Column::cut("NAME", 8), Column::number("RECORDS"), Column::whole("STATE")]);
        table.row(["李医生".into(), "7".into(), "online".into()]);
        table.row(["Dr\u{1b}[2J Lee\n".into(), "1204".into(), String::new()]);
        insta::assert_snapshot!(table.render(), @r"
        NAME       RECORDS  STATE
        李医生           7  online
        Dr[2J Lee     1204
        ");
    }

    #[test]
    fn a_column_that_is_not_needed_takes_no_room() {
        let table = |shown| {
            let mut table = Table::new([Column::whole("A"), Column::cut("PATIENT", 8).only_if(shown), Column::whole("B")]);
            table.row(["1".into(), "x".repeat(200), "2".into()]);
            table.render()
        };
        assert_eq!(table(false), "A  B\n1  2\n");
        assert!(table(true).starts_with("A  PATIENT ") && table(true).lines().all(|line| line.width() <= WIDTH), "{}", table(true));
    }

    #[test]
    fn long_texts_are_broken_at_blanks() {
        let long = ["word"; 30].join(" ");
        let text = bullets([&long]);
        assert_eq!(text.lines().count(), 2);
        assert!(text.starts_with("  - word") && text.lines().all(|line| line.width() <= WIDTH), "{text}");
    }

    proptest! {
        #[test]
        fn a_table_fits(rows in proptest::collection::vec((any::<String>(), ".{0,150}", 0_u64..1_000_000), 0..20)) {
            let mut table = Table::new([Column::cut("A", 10), Column::cut("B", 10), Column::number("N")]);
            for (a, b, n) in rows {
                table.row([a, b, n.to_string()]);
            }
            for line in table.render().lines() {
                prop_assert!(line.width() <= WIDTH, "{line}");
                prop_assert!(line.trim_end() == line);
            }
        }

        #[test]
        fn what_is_cut_fits(text in any::<String>(), width in 1_usize..40) {
            prop_assert!(shorten(&plain(&text), width).width() <= width);
        }
    }
}
