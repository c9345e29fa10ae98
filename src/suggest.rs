//! "Did you mean": the nearest of the known names.

/// Less alike than this, a suggestion confuses more than it helps.
const ALIKE: f64 = 0.7;

/// The known name that `name` was probably meant to be.
pub(crate) fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    alike(name, known, ALIKE).into_iter().next()
}

/// "did you mean `x`?", when a known name is near to `name`.
pub(crate) fn did_you_mean<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<String> {
    nearest(name, known).map(|near| format!("did you mean `{near}`?"))
}

/// Up to three known names that are at least so much alike (0 to 1), the likest first.
pub(crate) fn alike<'n>(name: &str, known: impl IntoIterator<Item = &'n str>, least: f64) -> Vec<&'n str> {
    let wanted = name.to_lowercase();
    let mut scored: Vec<(f64, &str)> = known
        .into_iter()
        .map(|known| (likeness(&wanted, &known.to_lowercase()), known))
        .filter(|(score, _)| *score >= least)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.dedup();
    scored.truncate(3);
    scored.into_iter().map(|(_, name)| name).collect()
}

/// Jaro-Winkler alone trusts a common beginning too much (`listSpaces` would be `listTasks` before `getSpaces`).
fn likeness(a: &str, b: &str) -> f64 {
    f64::midpoint(strsim::jaro_winkler(a, b), strsim::normalized_damerau_levenshtein(a, b))
}
