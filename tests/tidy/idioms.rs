//! Rules for shapes of code that a reader has to take apart: tuples as parameters, `drop` to
//! discard a result, options of options, and predicates that change something.

use crate::Violation;
use crate::source::{Token, tokens};

/// Functions with a tuple among their parameters. The caller of such a function cannot see that its
/// parts belong together: a struct has a name for them, and separate parameters do without. `code`
/// is the output of `source::split_tests(..).shipped`.
pub(crate) fn tuple_parameters(file: &str, code: &str) -> Vec<Violation> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let is_function = tokens[at].text == "fn"
            && tokens
                .get(at + 1)
                .is_some_and(|name| name.text.starts_with(is_letter));
        if !is_function {
            continue;
        }
        let name = tokens[at + 1];
        if has_tuple_parameter(&tokens[at + 2..]) {
            let what = format!("`{}` has a tuple among its parameters", name.text);
            found.push(Violation::new(file, name.line, what));
        }
    }
    found
}

/// Reads the rest of a signature after its name: generic parameters, then the parameters.
fn has_tuple_parameter(signature: &[Token<'_>]) -> bool {
    let (mut parens, mut angles, mut others) = (0_usize, 0_usize, 0_usize);
    for (at, token) in signature.iter().enumerate() {
        let mut before = signature[..at].iter().rev().map(|token| token.text);
        match token.text {
            "(" => {
                let start = before.find(|text| !matches!(*text, "&" | "mut"));
                if parens == 1 && angles + others == 0 && matches!(start, Some("(" | ",")) {
                    return true;
                }
                parens += 1;
            }
            ")" => parens = parens.saturating_sub(1),
            "<" => angles += 1,
            // The arrow of a function type is no bracket.
            ">" if before.next() != Some("-") => angles = angles.saturating_sub(1),
            "[" => others += 1,
            "]" => others = others.saturating_sub(1),
            "{" | ";" if others == 0 => return false,
            _ => {}
        }
        if token.text == ")" && parens == 0 && angles == 0 {
            return false;
        }
    }
    false
}

/// Calls of `drop` with something else than a name. `drop(guard)` ends a guard early; a result that
/// is not of interest ends in `.ok()` or is named. `code` is the output of
/// `source::split_tests(..).shipped`.
pub(crate) fn dropped_results(file: &str, code: &str) -> Vec<Violation> {
    let tokens = tokens(code);
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    (0..tokens.len())
        .filter(|&at| text(at) == "drop" && text(at + 1) == "(")
        .filter(|&at| at == 0 || !matches!(text(at - 1), "fn" | "."))
        .filter(|&at| text(at + 3) != ")")
        .map(|at| {
            Violation::new(
                file,
                tokens[at].line,
                "`drop` discards the result of an expression",
            )
        })
        .collect()
}

/// Options of options. A reader has to remember the meaning of each `None`: an enum has names for
/// them.
pub(crate) fn nested_options(file: &str, code: &str) -> Vec<Violation> {
    let tokens = tokens(code);
    let is_nested =
        |at: &usize| (0..4).all(|n| tokens.get(at + n).is_some_and(|t| t.text == NESTED[n]));
    (0..tokens.len())
        .filter(is_nested)
        .map(|at| Violation::new(file, tokens[at].line, "an option of an option"))
        .collect()
}

const NESTED: [&str; 4] = ["Option", "<", "Option", "<"];

/// Functions with the name of a predicate that take `&mut self`.
pub(crate) fn mutating_predicates(file: &str, code: &str) -> Vec<Violation> {
    let tokens = tokens(code);
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    (0..tokens.len())
        .filter(|&at| {
            let is_predicate = ["is_", "has_", "may_", "can_"]
                .iter()
                .any(|prefix| text(at + 1).starts_with(prefix));
            let receiver = [text(at + 2), text(at + 3), text(at + 4), text(at + 5)];
            text(at) == "fn" && is_predicate && receiver == ["(", "&", "mut", "self"]
        })
        .map(|at| {
            let what = format!("`{}` is a predicate and may change something", text(at + 1));
            Violation::new(file, tokens[at].line, what)
        })
        .collect()
}

fn is_letter(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tuple_among_the_parameters_of_a_function_is_caught() {
        for code in [
            "fn f((a, b): (u8, u8)) {}",
            "fn f(\n    &self,\n    (a, b): (&A, &B),\n) -> u8 { 0 }",
            "fn f<F: Fn(u8) -> u8>(f: F, (a, b): (u8, u8)) {}",
            "fn f(x: Map<u8, (u8, u8)>, &(a, b): &(u8, u8)) {}",
            "trait T { fn f(&self, (a, b): (u8, u8)); }",
        ] {
            assert_eq!(tuple_parameters("src/x.rs", code).len(), 1, "{code}");
        }
    }

    #[test]
    fn other_signatures_closures_and_types_pass() {
        for code in [
            "fn f(a: u8, b: Map<u8, (u8, u8)>) -> (u8, u8) { (1, 2) }",
            "fn f(f: impl Fn(&(u8, u8)) -> bool, x: [(u8, u8); 2]) { g((1, 2)) }",
            "fn f(x: &dyn Fn(u8, (u8, u8))) where T: Fn((u8, u8)) {}",
            "fn f(x: &(dyn Error + 'static), y: &(u8, u8)) {}",
            "fn f() { let g = |(a, b): (u8, u8)| a + b; h(1, (2, 3)) }",
            "type F = fn((u8, u8)) -> u8;",
        ] {
            assert_eq!(tuple_parameters("src/x.rs", code).len(), 0, "{code}");
        }
    }

    #[test]
    fn options_of_options_and_predicates_that_change_something_are_caught() {
        let nested = |code: &str| nested_options("src/x.rs", code).len();
        assert_eq!(nested("fn f() -> Option<Option<u8>> { None }"), 1);
        assert_eq!(nested("fn f() -> Option<Vec<Option<u8>>> { None }"), 0);
        let mutating = |code: &str| mutating_predicates("src/x.rs", code).len();
        assert_eq!(mutating("fn is_gone(&mut self, n: u8) -> bool { true }"), 1);
        assert_eq!(
            mutating("fn is_gone(&self) {} fn gone(&mut self) {} fn is_x(x: &mut X) {}"),
            0
        );
    }

    #[test]
    fn discarding_a_result_with_drop_is_caught_and_ending_a_guard_passes() {
        let found = |code: &str| dropped_results("src/x.rs", code).len();
        assert_eq!(
            found("drop(f(x));\nmem::drop((a, b));\nx.for_each(|n| drop(n + 1));"),
            3
        );
        assert_eq!(found("drop(guard); x.drop(f()); fn drop(&mut self) {}"), 0);
    }
}
