use comfy_table::{ContentArrangement, Table, presets};
use tenantry::{Change, Step};

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

/// What a run changed, counted: `12 created, 2 updated`.
pub(crate) fn changes(steps: &[Step]) -> String {
    let counted = [
        (Change::Created, "created"),
        (Change::Updated, "updated"),
        (Change::Replaced, "replaced"),
        (Change::Deleted, "deleted"),
        (Change::Acted, "done"),
    ];
    let parts: Vec<String> = counted
        .into_iter()
        .map(|(change, word)| (steps.iter().filter(|step| step.change == change).count(), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}
