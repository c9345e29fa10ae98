//! "Did you mean": the nearest of the known names.

/// The known name nearest to `wanted`, when it is near enough to be what was meant.
#[must_use]
pub(crate) fn nearest<S: AsRef<str>>(wanted: &str, known: impl IntoIterator<Item = S>) -> Option<String> {
    let folded = wanted.to_lowercase();
    known
        .into_iter()
        .map(|name| {
            let name = name.as_ref();
            let likeness = strsim::jaro_winkler(&folded, &name.to_lowercase());
            let distance = strsim::damerau_levenshtein(&folded, &name.to_lowercase());
            (name.to_owned(), likeness, distance)
        })
        .filter(|(name, likeness, distance)| *likeness > 0.85 || *distance <= 1.max(name.chars().count() / 4))
        .max_by(|(_, one, _), (_, other, _)| one.total_cmp(other))
        .map(|(name, _, _)| name)
}
