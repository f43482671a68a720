//! From text to expression.

use std::collections::BTreeSet;

use rust_decimal::Decimal;
use winnow::ascii::{digit1, multispace0};
use winnow::combinator::{
    alt, cut_err, delimited, eof, fail, opt, peek, preceded, repeat, separated, terminated,
};
use winnow::error::{ContextError, ErrMode, StrContext, StrContextValue};
use winnow::prelude::*;
use winnow::stream::{LocatingSlice, Stateful};
use winnow::token::{one_of, take_till, take_while};

use crate::filter::{Comparison, Expression};
use crate::{FILTER_BYTES_MAX, NESTING_MAX, ParseError, TESTS_MAX};

/// What has been used of what an expression may have.
#[derive(Debug, Default)]
struct Used {
    nesting: usize,
    tests: usize,
}

type Input<'a> = Stateful<LocatingSlice<&'a str>, Used>;

/// Words that are no names.
const KEYWORDS: [&str; 6] = ["and", "or", "not", "in", "prefix", "exists"];

pub(crate) fn parse(text: &str) -> Result<Expression, ParseError> {
    if text.len() > FILTER_BYTES_MAX {
        let expected = format!("an expression has at most {FILTER_BYTES_MAX} bytes");
        return Err(ParseError { column: FILTER_BYTES_MAX + 1, expected });
    }
    let input = Input { input: LocatingSlice::new(text), state: Used::default() };
    let whole = delimited(multispace0, expression, eof.context(expects("`and`, `or` or the end")));
    let mut whole = whole;
    whole.parse(input).map_err(|error| {
        let column = text.get(..error.offset()).map_or(0, |before| before.chars().count()) + 1;
        ParseError { column, expected: said(error.inner()) }
    })
}

/// Whether a name needs no quotes.
pub(crate) fn is_bare(name: &str) -> bool {
    let mut chars = name.chars();
    let begins = chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    begins && chars.all(is_in_name) && !KEYWORDS.contains(&name)
}

fn is_in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

fn expects(what: &'static str) -> StrContext {
    StrContext::Expected(StrContextValue::Description(what))
}

fn said(error: &ContextError) -> String {
    let mut limits = error.context().filter_map(|context| match context {
        StrContext::Label(limit) => Some((*limit).to_owned()),
        _ => None,
    });
    if let Some(limit) = limits.next() {
        return limit;
    }
    let mut all: Vec<String> = Vec::new();
    for context in error.context() {
        if let StrContext::Expected(StrContextValue::Description(what)) = context
            && !all.iter().any(|known| known == what)
        {
            all.push((*what).to_owned());
        }
    }
    if all.is_empty() {
        "expected a test like region = 'eu'".to_owned()
    } else {
        format!("expected {}", all.join(", "))
    }
}

fn over(limit: &'static str) -> ErrMode<ContextError> {
    let mut error = ContextError::new();
    error.push(StrContext::Label(limit));
    ErrMode::Cut(error)
}

/// A sign or quoted thing, and the space behind it.
fn spaced<'a, T>(
    inner: impl Parser<Input<'a>, T, ErrMode<ContextError>>,
) -> impl Parser<Input<'a>, T, ErrMode<ContextError>> {
    terminated(inner, multispace0)
}

fn keyword<'a>(word: &'static str) -> impl Parser<Input<'a>, (), ErrMode<ContextError>> {
    spaced(take_while(1.., is_in_name).verify(move |found: &str| found == word)).void()
}

fn expression(input: &mut Input<'_>) -> ModalResult<Expression> {
    let first = conjunction.parse_next(input)?;
    let more: Vec<Expression> =
        repeat(0.., preceded(keyword("or"), cut_err(conjunction))).parse_next(input)?;
    Ok(joined(first, more, Expression::Or))
}

fn conjunction(input: &mut Input<'_>) -> ModalResult<Expression> {
    let first = negation.parse_next(input)?;
    let more: Vec<Expression> = repeat(0.., preceded(keyword("and"), cut_err(negation))).parse_next(input)?;
    Ok(joined(first, more, Expression::And))
}

fn joined(
    first: Expression,
    mut more: Vec<Expression>,
    join: fn(Vec<Expression>) -> Expression,
) -> Expression {
    if more.is_empty() {
        return first;
    }
    more.insert(0, first);
    join(more)
}

fn negation(input: &mut Input<'_>) -> ModalResult<Expression> {
    let nested = opt(alt((keyword("not").value(true), spaced('(').value(false)))).parse_next(input)?;
    let Some(is_not) = nested else { return test.parse_next(input) };
    input.state.nesting += 1;
    if input.state.nesting > NESTING_MAX {
        return Err(over("an expression is nested at most 32 deep"));
    }
    let inner = if is_not {
        cut_err(negation).map(|inner| Expression::Not(Box::new(inner))).parse_next(input)?
    } else {
        terminated(cut_err(expression), cut_err(spaced(')')).context(expects("`)`"))).parse_next(input)?
    };
    input.state.nesting -= 1;
    Ok(inner)
}

fn test(input: &mut Input<'_>) -> ModalResult<Expression> {
    input.state.tests += 1;
    if input.state.tests > TESTS_MAX {
        return Err(over("an expression has at most 64 tests"));
    }
    if opt(peek((keyword("exists"), '('))).parse_next(input)?.is_some() {
        let inner = delimited(spaced('('), name, spaced(')').context(expects("`)`")));
        return preceded(keyword("exists"), cut_err(inner)).map(Expression::Exists).parse_next(input);
    }
    let name = name.context(expects("a header's name, `not`, `exists` or `(`")).parse_next(input)?;
    cut_err(|input: &mut Input<'_>| condition(input, &name)).parse_next(input)
}

fn condition(input: &mut Input<'_>, name: &str) -> ModalResult<Expression> {
    let what = "`=`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `not in` or `prefix`";
    let word = opt(peek(take_while(1.., is_in_name))).parse_next(input)?;
    match word {
        Some("prefix") => preceded(keyword("prefix"), text)
            .map(|prefix| Expression::Prefix(name.to_owned(), prefix))
            .parse_next(input),
        Some("in") => preceded(keyword("in"), list)
            .map(|texts| Expression::In(name.to_owned(), texts, false))
            .parse_next(input),
        Some("not") => preceded((keyword("not"), keyword("in").context(expects("`in`"))), list)
            .map(|texts| Expression::In(name.to_owned(), texts, true))
            .parse_next(input),
        Some(_) => fail.context(expects(what)).parse_next(input),
        None => {
            let sign = spaced(comparison).context(expects(what)).parse_next(input)?;
            compared(input, name, sign)
        }
    }
}

fn comparison(input: &mut Input<'_>) -> ModalResult<Comparison> {
    alt((
        "=".value(Comparison::Equal),
        "!=".value(Comparison::Unequal),
        "<=".value(Comparison::LessOrEqual),
        "<".value(Comparison::Less),
        ">=".value(Comparison::GreaterOrEqual),
        ">".value(Comparison::Greater),
    ))
    .parse_next(input)
}

fn compared(input: &mut Input<'_>, name: &str, sign: Comparison) -> ModalResult<Expression> {
    let by_number = number.map(|number| Expression::Number(name.to_owned(), sign, number));
    match sign {
        Comparison::Equal | Comparison::Unequal => {
            let none = sign == Comparison::Unequal;
            let by_text = text.map(|text| Expression::In(name.to_owned(), BTreeSet::from([text]), none));
            alt((by_text, by_number))
                .context(expects("a text in single quotes"))
                .context(expects("a number"))
                .parse_next(input)
        }
        _ => by_number.context(expects("a number")).parse_next(input),
    }
}

fn name(input: &mut Input<'_>) -> ModalResult<String> {
    let quoted = delimited('"', take_till(1.., '"'), '"').map(str::to_owned);
    let begins = one_of(|c: char| c.is_ascii_alphabetic() || c == '_');
    let bare = (begins, take_while(0.., is_in_name)).take().verify(|name: &str| !KEYWORDS.contains(&name));
    spaced(alt((quoted, bare.map(str::to_owned)))).parse_next(input)
}

fn text(input: &mut Input<'_>) -> ModalResult<String> {
    let part = alt(("''".value("'"), take_till(1.., '\'')));
    let inside = repeat(0.., part).fold(String::new, |mut all: String, part: &str| {
        all.push_str(part);
        all
    });
    spaced(delimited('\'', inside, '\'')).context(expects("a text in single quotes")).parse_next(input)
}

fn list(input: &mut Input<'_>) -> ModalResult<BTreeSet<String>> {
    let texts = separated(1.., text, spaced(','));
    let texts = texts.map(|texts: Vec<String>| texts.into_iter().collect());
    delimited(spaced('(').context(expects("`(`")), texts, spaced(')').context(expects("`,` or `)`")))
        .parse_next(input)
}

fn number(input: &mut Input<'_>) -> ModalResult<Decimal> {
    let literal = (opt('-'), digit1, opt(('.', digit1))).take();
    spaced(literal.try_map(Decimal::from_str_exact)).parse_next(input)
}
