//! The nearest known word to a mistyped one.

/// The candidate closest to `word`, when close enough to be what was meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

/// All candidates, the most alike first, else in their order.
pub fn nearest_first<'a>(word: &str, mut candidates: Vec<&'a str>) -> Vec<&'a str> {
    candidates.sort_by_key(|candidate| strsim::damerau_levenshtein(word, candidate));
    candidates
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        assert_eq!(nearest("prd", ["dev", "prod"]), Some("prod"));
        assert_eq!(nearest("lisen", ["listen", "branches"]), Some("listen"));
        assert_eq!(nearest("zebra", ["dev", "prod"]), None);
    }
}
