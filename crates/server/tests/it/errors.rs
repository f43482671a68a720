//! docs/errors is complete: every reason that a node can give, and no other.

use std::collections::BTreeSet;

use phalanx_server::status::Reason;

#[test]
fn every_reason_is_documented_with_its_code() {
    let text = std::fs::read_to_string("../../docs/errors/README.md").expect("docs/errors/README.md");
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split("` | `");
        let (reason, rest) = (cells.next()?, cells.next()?);
        let code = rest.split('`').next()?;
        Some((reason.to_owned(), code.to_owned()))
    });
    let documented: BTreeSet<_> = rows.collect();
    let existing: BTreeSet<_> = Reason::ALL
        .iter()
        .map(|reason| {
            let (name, code) = reason.parts();
            (name.to_owned(), screaming(&format!("{code:?}")))
        })
        .collect();
    assert_eq!(documented, existing);
}

/// `InvalidArgument` → `INVALID_ARGUMENT`.
fn screaming(camel: &str) -> String {
    let mut out = String::new();
    for (position, letter) in camel.char_indices() {
        if letter.is_uppercase() && position > 0 {
            out.push('_');
        }
        out.extend(letter.to_uppercase());
    }
    out
}
