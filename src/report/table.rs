use comfy_table::{ContentArrangement, Table, presets};
use tenantry::Change;

use super::style::{Paint, Style};
use super::text::clean_line;

/// A table for people and for `grep`: a row a line, never wrapped, so that addresses can be copied.
pub(crate) fn table(head: &[&str], rows: Vec<Vec<String>>, style: Style) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).force_no_tty();
    table.set_header(head);
    for row in rows {
        table.add_row(row.iter().map(|cell| clean_line(cell)));
    }
    let mut lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    // Every cell has a blank on its left.
    if lines.iter().all(|line| line.starts_with(' ')) {
        for line in &mut lines {
            line.remove(0);
        }
    }
    if let Some(head) = lines.first_mut() {
        *head = style.paint(Paint::Bold, head);
    }
    lines.join("\n")
}

/// A table that is at most so wide, if leaving out columns can do it: those of the highest rank go first, one of rank 0
/// never does. A row stays a line.
pub(crate) fn fitted(columns: &[(&str, u8)], rows: &[Vec<String>], style: Style, width: Option<usize>) -> String {
    let mut kept: Vec<usize> = (0..columns.len()).collect();
    loop {
        let head: Vec<&str> = kept.iter().map(|column| columns[*column].0).collect();
        let rows = rows.iter().map(|row| kept.iter().map(|column| row[*column].clone()).collect()).collect();
        // Measured without colours, which take no room.
        let drawn = table(&head, rows, style);
        let plain = drawn.lines().skip(1).chain([head.join("  ").as_str()]).map(|line| line.chars().count()).max();
        let last = kept.iter().copied().max_by_key(|column| columns[*column].1).filter(|column| columns[*column].1 > 0);
        match (width, last) {
            (Some(width), Some(last)) if plain > Some(width) => kept.retain(|column| *column != last),
            _ => return drawn,
        }
    }
}

/// What a run changed, counted: `12 created, 2 updated`.
pub(crate) fn changes(done: impl IntoIterator<Item = Change> + Clone) -> String {
    let counted = [
        (Change::Created, "created"),
        (Change::Updated, "updated"),
        (Change::Replaced, "replaced"),
        (Change::Deleted, "deleted"),
        (Change::Acted, "done"),
    ];
    let parts: Vec<String> = counted
        .into_iter()
        .map(|(change, word)| (done.clone().into_iter().filter(|done| *done == change).count(), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}
