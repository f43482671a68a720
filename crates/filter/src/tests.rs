//! The language, and the index against trying everything.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::Filter;
use crate::{Attributes, Index, Pattern};

fn headers(all: &[(&str, &str)]) -> BTreeMap<String, Bytes> {
    all.iter().map(|(name, value)| ((*name).to_owned(), Bytes::copy_from_slice(value.as_bytes()))).collect()
}

fn matches(filter: &str, all: &[(&str, &str)]) -> bool {
    let headers = headers(all);
    Filter::parse(filter)
        .unwrap_or_else(|why| panic!("{filter}: {why}"))
        .matches(&Attributes::new("", &headers))
}

#[test]
fn tests_say_what_they_say() {
    let order = [("region", "eu-west"), ("amount", "10.50"), ("it's", "o'k"), ("word", "in")];
    let cases = [
        ("region = 'eu-west'", true),
        ("region != 'eu-west'", false),
        ("region != 'us'", true),
        ("region in ('us', 'eu-west')", true),
        ("region not in ('us', 'eu-west')", false),
        ("region prefix 'eu-'", true),
        ("region prefix 'us-'", false),
        ("amount = 10.5", true),
        ("amount = '10.5'", false),
        ("amount > 10.499 and amount < 10.501", true),
        ("amount >= -3 and not amount <= 10", true),
        ("amount != 10.5", false),
        ("region > 3", false),
        ("exists(region) and not exists(country)", true),
        ("country != 'de'", false),
        ("country not in ('de')", false),
        ("not country = 'de'", true),
        ("region = 'x' or amount > 10 and word = 'in'", true),
        ("(region = 'x' or amount > 10) and word = 'out'", false),
        ("\"it's\" = 'o''k'", true),
        ("  region='eu-west'and(amount>1)  ", true),
    ];
    for (filter, expected) in cases {
        assert_eq!(matches(filter, &order), expected, "{filter}");
    }
}

#[test]
fn errors_say_where_and_what() {
    let cases = [
        ("", "column 1: expected a header's name, `not`, `exists` or `(`"),
        ("region", "column 7: expected `=`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `not in` or `prefix`"),
        ("region is 'eu'", "column 8: expected `=`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `not in` or `prefix`"),
        ("region = ", "column 10: expected a text in single quotes, a number"),
        ("region < 'a'", "column 10: expected a number"),
        ("region = 'eu' region", "column 15: expected `and`, `or` or the end"),
        ("(region = 'eu'", "column 15: expected `)`"),
        ("region in 'eu'", "column 11: expected `(`"),
        ("region = 'eu' and", "column 18: expected a header's name, `not`, `exists` or `(`"),
        ("größe = 1", "column 3: expected `=`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `not in` or `prefix`"),
    ];
    for (filter, expected) in cases {
        assert_eq!(Filter::parse(filter).unwrap_err().to_string(), expected, "{filter:?}");
    }
}

#[test]
fn expressions_are_bounded() {
    let refused = |filter: String| Filter::parse(&filter).unwrap_err().expected;
    assert_eq!(refused("(".repeat(2_000)), "an expression is nested at most 32 deep");
    assert_eq!(refused("not ".repeat(1_000)), "an expression is nested at most 32 deep");
    assert_eq!(refused(vec!["a = 1"; 65].join(" or ")), "an expression has at most 64 tests");
    assert_eq!(refused("x".repeat(5_000)), "an expression has at most 4096 bytes");
    assert!(Filter::parse(&vec!["a = 1"; 64].join(" or ")).is_ok());
}

fn expression() -> impl Strategy<Value = String> {
    let text = "'[xyz]'";
    let test = prop_oneof![
        ("[ab]", "(=|!=)", text).prop_map(|(name, sign, text)| format!("{name} {sign} {text}")),
        ("[ab]", "(=|!=|<|<=|>|>=)", -2..3_i32)
            .prop_map(|(name, sign, number)| format!("{name} {sign} {number}")),
        ("[ab]", "(in|not in)", prop::collection::vec(text, 1..3))
            .prop_map(|(name, word, texts)| format!("{name} {word} ({})", texts.join(", "))),
        ("[ab]", text).prop_map(|(name, text)| format!("{name} prefix {text}")),
        "exists\\([ab]\\)",
    ];
    test.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(|all| format!("({})", all.join(" or "))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|all| format!("({})", all.join(" and "))),
            inner.prop_map(|inner| format!("not {inner}")),
        ]
    })
}

fn message() -> impl Strategy<Value = (String, BTreeMap<String, Bytes>)> {
    let value = prop_oneof!["[xyz]", "-?[012]"].prop_map(Bytes::from);
    ("([pq]\\.){0,2}[pq]", prop::collection::btree_map("[ab]", value, 0..3))
}

proptest! {
    #[test]
    fn no_text_is_too_strange(text in ".{0,80}") {
        let _ = Filter::parse(&text);
    }

    #[test]
    fn signs_in_any_order_are_understood_or_refused(text in "([ab]|'x'|1|=|<|\\(|\\)| and | or | not | in |,){0,12}") {
        let _ = Filter::parse(&text);
    }

    #[test]
    fn what_is_written_is_read_again(text in expression(), (key, headers) in message()) {
        let filter = Filter::parse(&text).unwrap();
        let again = Filter::parse(&filter.to_string()).unwrap();
        prop_assert_eq!(&again.to_string(), &filter.to_string());
        let shown = Attributes::new(&key, &headers);
        prop_assert_eq!(filter.matches(&shown), again.matches(&shown));
    }

    #[test]
    fn the_index_finds_what_trying_everything_finds(
        subscriptions in prop::collection::vec(
            (prop::option::of("([pq*#]\\.){0,2}[pq*#]"), prop::option::of(expression())), 0..20),
        removed in prop::collection::vec(0..20_usize, 0..5),
        messages in prop::collection::vec(message(), 1..8),
    ) {
        let mut index = Index::default();
        let mut all = BTreeMap::new();
        for (id, (pattern, filter)) in subscriptions.iter().enumerate() {
            let parsed = || {
                let pattern = pattern.as_ref().map(|text| Pattern::parse(text).unwrap());
                (pattern, filter.as_ref().map(|text| Filter::parse(text).unwrap()))
            };
            let (pattern, filter) = parsed();
            index.insert(id, pattern, filter);
            all.insert(id, parsed());
        }
        for id in removed {
            index.remove(id);
            all.remove(&id);
        }
        prop_assert_eq!(index.is_empty(), all.is_empty());
        let mut found = Vec::new();
        for (key, headers) in &messages {
            let shown = Attributes::new(key, headers);
            index.matching(&shown, &mut found);
            let expected: Vec<usize> = all.iter().filter(|(_, (pattern, filter))| {
                pattern.as_ref().is_none_or(|pattern| pattern.matches(key))
                    && filter.as_ref().is_none_or(|filter| filter.matches(&shown))
            }).map(|(id, _)| *id).collect();
            prop_assert_eq!(&found, &expected);
        }
    }
}
