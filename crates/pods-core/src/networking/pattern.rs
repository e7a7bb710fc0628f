//! Which regular expressions of a user can be given to the proxy.
//!
//! The proxy compiles them with Go's `regexp`, which drops the whole router over one that it does not know. Both dialects
//! come from RE2; what only one of them understands, or each in its own way, is refused when it is written.

use regex_syntax::ast::{
    Ast, ClassPerlKind, ClassSet, ClassSetItem, ClassUnicode, ClassUnicodeKind, Flags, FlagsItemKind,
    GroupKind, HexLiteralKind, Literal, LiteralKind, Repetition, RepetitionKind, RepetitionRange,
    SpecialLiteralKind, parse::Parser,
};

/// The most that nested counted repetitions may multiply to.
const REPEAT_MAX: u32 = 1000;

/// General categories of Unicode by the names that both dialects share.
const CATEGORIES: [&str; 30] = [
    "Cc", "Cf", "Co", "Cs", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl", "No",
    "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm",
];

/// Checks one expression.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(text: &str) -> Result<(), String> {
    let ast = Parser::new().parse(text).map_err(|error| error.kind().to_string())?;
    walk(&ast, 1)?;
    // Its size is bounded, too.
    regex::Regex::new(text).map(drop).map_err(|_| "it is too large or cannot be compiled".to_owned())
}

/// `repeated` is how often the counted repetitions around the expression repeat it.
fn walk(ast: &Ast, repeated: u32) -> Result<(), String> {
    match ast {
        Ast::Empty(_) | Ast::Dot(_) => Ok(()),
        Ast::Flags(set) => flags(&set.flags),
        Ast::Literal(found) => literal(found),
        Ast::Assertion(assertion) => {
            use regex_syntax::ast::AssertionKind::{
                EndLine, EndText, NotWordBoundary, StartLine, StartText, WordBoundary,
            };
            match assertion.kind {
                StartLine | EndLine | StartText | EndText | WordBoundary | NotWordBoundary => Ok(()),
                _ => Err("it has a word boundary other than \\b and \\B".to_owned()),
            }
        }
        Ast::ClassUnicode(class) => unicode(class),
        Ast::ClassPerl(class) => match class.kind {
            ClassPerlKind::Digit | ClassPerlKind::Space | ClassPerlKind::Word => Ok(()),
        },
        Ast::ClassBracketed(class) => members(&class.kind),
        Ast::Repetition(repetition) => repetition_of(repetition, repeated),
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
            walk(&group.ast, repeated)
        }
        Ast::Alternation(alternation) => alternation.asts.iter().try_for_each(|ast| walk(ast, repeated)),
        Ast::Concat(concat) => concat.asts.iter().try_for_each(|ast| walk(ast, repeated)),
    }
}

fn repetition_of(repetition: &Repetition, repeated: u32) -> Result<(), String> {
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
    walk(&repetition.ast, repeated)
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

fn unicode(class: &ClassUnicode) -> Result<(), String> {
    let known = match &class.kind {
        ClassUnicodeKind::OneLetter(letter) => CATEGORIES.contains(&letter.to_string().as_str()),
        ClassUnicodeKind::Named(name) => CATEGORIES.contains(&name.as_str()),
        ClassUnicodeKind::NamedValue { .. } => false,
    };
    if known { Ok(()) } else { Err("it has a class of Unicode that is no general category".to_owned()) }
}

fn members(set: &ClassSet) -> Result<(), String> {
    let item = match set {
        ClassSet::Item(item) => item,
        ClassSet::BinaryOp(_) => return Err("a class has one of the operators && -- ~~".to_owned()),
    };
    match item {
        ClassSetItem::Empty(_) | ClassSetItem::Ascii(_) | ClassSetItem::Perl(_) => Ok(()),
        ClassSetItem::Literal(found) => literal(found),
        ClassSetItem::Range(range) => literal(&range.start).and_then(|()| literal(&range.end)),
        ClassSetItem::Unicode(class) => unicode(class),
        ClassSetItem::Bracketed(_) => Err("a class stands within a class".to_owned()),
        ClassSetItem::Union(union) => {
            union.items.iter().try_for_each(|item| members(&ClassSet::Item(item.clone())))
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
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
