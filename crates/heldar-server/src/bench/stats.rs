//! Medians, percentiles, and tables of figures; numbers without order.

/// The value below which `share` (0..=1) of the values lie, by nearest rank; 0 without values.
pub(super) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    // Counts of runs are far below the range in which f64 is exact.
    let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).or(sorted.last()).copied().unwrap_or(0.0)
}

/// The middle value, or the mean of the two middle ones; 0 without values.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), sorted.len() % 2) {
        (None, _) => 0.0,
        (Some(upper), 1) => *upper,
        (Some(upper), _) => f64::midpoint(sorted[middle - 1], *upper),
    }
}

/// Lines of a table, columns aligned: words to the left, figures to the right.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let pad = " ".repeat(width - cell.chars().count());
            let figure = cell.starts_with(|c: char| c.is_ascii_digit());
            let (left, right) = if figure { (pad.as_str(), "") } else { ("", pad.as_str()) };
            line.push_str(&format!("  {left}{cell}{right}"));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Lines of a table in Markdown, columns aligned: as documents hold it. The first row names the columns.
pub(super) fn markdown(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (column, width) in widths.iter().enumerate() {
            let cell = row.get(column).map_or("", String::as_str);
            text.push_str(&format!("| {cell:<width$} "));
        }
        text.push_str("|\n");
        if number == 0 {
            widths.iter().for_each(|width| text.push_str(&format!("|{}", "-".repeat(width + 2))));
            text.push_str("|\n");
        }
    }
    text
}

/// Numbers without order, the same in every run.
pub(super) struct Spread(pub(super) u64);

impl Spread {
    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        // Constants of Knuth's MMIX; the upper bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// The same values in another order.
    pub(super) fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            // Below `last + 1`, which is a place in memory.
            values.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quantiles() {
        let check = |values: &[f64], middle: f64, p99: f64| {
            assert!((median(values) - middle).abs() < 1e-9, "{values:?}");
            assert!((quantile(values, 0.99) - p99).abs() < 1e-9, "{values:?}");
        };
        check(&[], 0.0, 0.0);
        check(&[3.0], 3.0, 3.0);
        check(&[3.0, 1.0], 2.0, 3.0);
        check(&[9.0, 1.0, 2.0], 2.0, 9.0);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        check(&hundred, 50.5, 99.0);
    }

    #[test]
    fn tables_are_aligned() {
        let rows = [vec!["run".to_owned(), "MiB".to_owned()], vec!["a".to_owned(), "7".to_owned()]];
        assert_eq!(table(&rows), "  run  MiB\n  a      7\n");
    }

    #[test]
    fn markdown_has_a_rule_below_its_first_row() {
        let rows = [vec!["run".to_owned(), "MiB".to_owned()], vec!["first".to_owned()]];
        assert_eq!(markdown(&rows), "| run   | MiB |\n|-------|-----|\n| first |     |\n");
    }

    #[test]
    fn shuffled_values_are_all_there() {
        let (mut values, mut again) = (Vec::from_iter(0..100), Vec::from_iter(0..100));
        Spread(7).shuffle(&mut values);
        Spread(7).shuffle(&mut again);
        assert_eq!(values, again, "the same in every run");
        assert_ne!(values, Vec::from_iter(0..100));
        values.sort_unstable();
        assert_eq!(values, Vec::from_iter(0..100));
    }
}
