//! The nearest known name to one that is not known.

/// The candidate with the smallest edit distance to `name`; `None` when more than half of `name` would have to change.
pub(crate) fn nearest(name: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    // Names are short; a long text is none, and its distance would cost time.
    if name.chars().count() > 100 {
        return None;
    }
    candidates
        .map(|candidate| (distance(name, &candidate), candidate))
        .min_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.cmp(&b.1)))
        .filter(|(distance, _)| *distance <= name.chars().count() / 2)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions and substitutions between two texts (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expect) in
            [("", "", 0), ("abc", "", 3), ("", "ab", 2), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(a, b), expect, "{a} {b}");
            assert_eq!(distance(b, a), expect, "{b} {a}");
        }
    }

    #[test]
    fn far_names_are_not_suggested() {
        let known = || ["api_port".to_owned(), "api_host".to_owned()].into_iter();
        assert_eq!(nearest("api_prot", known()).as_deref(), Some("api_port"));
        assert_eq!(nearest("zzzzzz", known()), None);
        assert_eq!(nearest("", known()), None);
    }
}
