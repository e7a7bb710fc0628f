//! Which regular expressions of a user can be given to the proxy.
//!
//! The proxy compiles them with Go's `regexp`, which drops the whole router over one that it does not know. Both dialects
//! come from RE2; what only one of them understands, or each in its own way, is refused when it is written.

use regex_syntax::ast::{
    Ast, ClassPerlKind, ClassSet, ClassSetItem, ClassUnicode, ClassUnicodeKind, Flags, FlagsItemKind,
    GroupKind, HexLiteralKind, Literal, LiteralKind, Repetition, RepetitionKind, RepetitionRange,
    SpecialLiteralKind, parse::Parser,
};

/// The most that nested counted repetitions may multiply to, as in Go.
const REPEAT_MAX: u32 = 1000;
/// The largest expression, in characters and classes, each as often as it is repeated. The proxy compiles all of them
/// again whenever its routes change.
const SIZE_MAX: u32 = 2000;
/// The size of a general category, which is hundreds of ranges.
const CATEGORY_SIZE: u32 = 50;

/// General categories of Unicode by the names that both dialects share.
const CATEGORIES: [&str; 30] = [
    "Cc", "Cf", "Co", "Cs", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl", "No",
    "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm",
];

/// Checks one expression. Nothing is compiled: that takes seconds for some short texts, and what users write is checked
/// again with each change of their pods.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(text: &str) -> Result<(), String> {
    let ast = Parser::new().parse(text).map_err(|error| error.kind().to_string())?;
    match size(&ast, 1)? {
        0..=SIZE_MAX => Ok(()),
        _ => Err(format!("it is larger than {SIZE_MAX} characters once its repetitions are written out")),
    }
}

/// The size of an expression that both dialects know; `repeated` is how often the counted repetitions around repeat it.
fn size(ast: &Ast, repeated: u32) -> Result<u32, String> {
    let sum = |parts: &[Ast]| {
        parts.iter().try_fold(0_u32, |sum, part| Ok(sum.saturating_add(size(part, repeated)?)))
    };
    match ast {
        Ast::Empty(_) => Ok(0),
        Ast::Dot(_) => Ok(repeated),
        Ast::Flags(set) => flags(&set.flags).map(|()| 0),
        Ast::Literal(found) => literal(found).map(|()| repeated),
        Ast::Assertion(assertion) => {
            use regex_syntax::ast::AssertionKind::{
                EndLine, EndText, NotWordBoundary, StartLine, StartText, WordBoundary,
            };
            match assertion.kind {
                StartLine | EndLine | StartText | EndText | WordBoundary | NotWordBoundary => Ok(repeated),
                _ => Err("it has a word boundary other than \\b and \\B".to_owned()),
            }
        }
        Ast::ClassUnicode(class) => unicode(class).map(|size| repeated.saturating_mul(size)),
        Ast::ClassPerl(class) => match class.kind {
            ClassPerlKind::Digit | ClassPerlKind::Space | ClassPerlKind::Word => Ok(repeated),
        },
        Ast::ClassBracketed(class) => members(&class.kind).map(|size| repeated.saturating_mul(size)),
        Ast::Repetition(repetition) => size_of_repetition(repetition, repeated),
        Ast::Group(group) => {
            match &group.kind {
                GroupKind::CaptureIndex(_) => {}
                GroupKind::CaptureName { name, .. } => {
                    if !name.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                        return Err("a group's name has more than letters, digits and _".to_owned());
                    }
                }
                GroupKind::NonCapturing(set) => flags(set)?,
            }
            // A group costs something itself, however empty it is.
            Ok(size(&group.ast, repeated)?.saturating_add(repeated))
        }
        Ast::Alternation(alternation) => sum(&alternation.asts),
        Ast::Concat(concat) => sum(&concat.asts),
    }
}

fn size_of_repetition(repetition: &Repetition, repeated: u32) -> Result<u32, String> {
    if !matches!(
        &*repetition.ast,
        Ast::Dot(_)
            | Ast::Literal(_)
            | Ast::ClassUnicode(_)
            | Ast::ClassPerl(_)
            | Ast::ClassBracketed(_)
            | Ast::Group(_)
    ) {
        return Err("something other than a character, class or group is repeated".to_owned());
    }
    let most = match &repetition.op.kind {
        RepetitionKind::ZeroOrOne | RepetitionKind::ZeroOrMore | RepetitionKind::OneOrMore => 1,
        RepetitionKind::Range(
            RepetitionRange::Exactly(count)
            | RepetitionRange::AtLeast(count)
            | RepetitionRange::Bounded(_, count),
        ) => (*count).max(1),
    };
    let repeated = repeated.saturating_mul(most);
    if repeated > REPEAT_MAX {
        return Err(format!("it repeats something more than {REPEAT_MAX} times"));
    }
    size(&repetition.ast, repeated)
}

fn flags(flags: &Flags) -> Result<(), String> {
    use regex_syntax::ast::Flag::{CaseInsensitive, DotMatchesNewLine, MultiLine, SwapGreed};
    let known = |kind: &FlagsItemKind| match kind {
        FlagsItemKind::Negation => true,
        FlagsItemKind::Flag(flag) => {
            matches!(flag, CaseInsensitive | MultiLine | DotMatchesNewLine | SwapGreed)
        }
    };
    match flags.items.iter().all(|item| known(&item.kind)) {
        true => Ok(()),
        false => Err("it has flags other than i, m, s and U".to_owned()),
    }
}

fn literal(literal: &Literal) -> Result<(), String> {
    let known = match &literal.kind {
        LiteralKind::Verbatim | LiteralKind::Meta | LiteralKind::Superfluous => true,
        LiteralKind::HexFixed(kind) | LiteralKind::HexBrace(kind) => matches!(kind, HexLiteralKind::X),
        LiteralKind::Special(kind) => !matches!(kind, SpecialLiteralKind::Space),
        LiteralKind::Octal => false,
    };
    if known { Ok(()) } else { Err("it has an escape other than \\x".to_owned()) }
}

fn unicode(class: &ClassUnicode) -> Result<u32, String> {
    let known = match &class.kind {
        ClassUnicodeKind::OneLetter(letter) => CATEGORIES.contains(&letter.to_string().as_str()),
        ClassUnicodeKind::Named(name) => CATEGORIES.contains(&name.as_str()),
        ClassUnicodeKind::NamedValue { .. } => false,
    };
    match known {
        true => Ok(CATEGORY_SIZE),
        false => Err("it has a class of Unicode that is no general category".to_owned()),
    }
}

fn members(set: &ClassSet) -> Result<u32, String> {
    match set {
        ClassSet::Item(item) => member(item),
        ClassSet::BinaryOp(_) => Err("a class has one of the operators && -- ~~".to_owned()),
    }
}

fn member(item: &ClassSetItem) -> Result<u32, String> {
    match item {
        ClassSetItem::Empty(_) | ClassSetItem::Ascii(_) | ClassSetItem::Perl(_) => Ok(1),
        ClassSetItem::Literal(found) => literal(found).map(|()| 1),
        ClassSetItem::Range(range) => {
            literal(&range.start)?;
            literal(&range.end).map(|()| 1)
        }
        ClassSetItem::Unicode(class) => unicode(class),
        ClassSetItem::Bracketed(_) => Err("a class stands within a class".to_owned()),
        ClassSetItem::Union(union) => {
            union.items.iter().try_fold(0_u32, |sum, item| Ok(sum.saturating_add(member(item)?)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_dialects_know_what_is_accepted() {
        for good in [
            "",
            r"\.(js|css)$",
            "^/static/",
            "(?i)logo",
            "(?s:a.b)",
            "a{2,3}?",
            "(?P<name>x)",
            r"\x7F[\d\-_a-z[:alpha:]]+",
            r"\p{Lu}\pN",
            r"^$|\bx\B",
            "[]a]",
            "(a{30}){30}",
            "a{1000}b{900}",
            r"\p{L}{40}",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "(",
            "(?x)a b",
            "(?u)a",
            "(?R)a",
            "[a[b]]",
            "[a-z&&b]",
            "[a--b]",
            "[a~~b]",
            r"\u0041",
            r"\U00000041",
            r"\u{41}",
            r"\p{Greek}",
            r"\p{sc=Greek}",
            r"\b{start}",
            r"\<a",
            "a**",
            "a{2}{3}",
            "^*",
            "(a{1000}){2}",
            "a{1001}",
            "((a{30}){30}){2}",
            "(?P<a.b>x)",
            "a{,3}",
            "a{1000}b{1000}c",
            r"\pL{41}",
            r"[a\pL\pN]{20}",
            "(){1000}(){1000}(){1000}",
            "(a|b|c){900}",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
