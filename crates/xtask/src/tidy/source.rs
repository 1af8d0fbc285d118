//! Rust source taken apart just far enough to tell code from comments and literals.

/// What a stretch of source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Neither of the others.
    Code,
    /// A line or block comment, doc comments among them.
    Comment,
    /// A string or character literal.
    Literal,
}

/// The code alone: comments and literals are blanks, every line and byte where it was.
pub(super) fn code(source: &str) -> String {
    only(source, &[Kind::Code])
}

/// The source with everything but these kinds blanked out.
pub(super) fn only(source: &str, keep: &[Kind]) -> String {
    let mut result = String::with_capacity(source.len());
    let mut rest = source;
    let mut before = None;
    while !rest.is_empty() {
        let (kind, length) = next(rest, before);
        let (stretch, tail) = rest.split_at(length);
        if keep.contains(&kind) {
            result.push_str(stretch);
        } else {
            blank(stretch, &mut result);
        }
        before = stretch.chars().next_back();
        rest = tail;
    }
    result
}

/// Code that ends up in the product: what `#[cfg(test)]` guards is blanked out too.
pub(super) fn product(code: &str) -> String {
    const GUARD: &str = "#[cfg(test)]";
    let mut result = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(GUARD) {
        let (before, guarded) = rest.split_at(at);
        let (item, tail) = guarded.split_at(item_length(guarded));
        result.push_str(before);
        blank(item, &mut result);
        rest = tail;
    }
    result + rest
}

fn blank(stretch: &str, result: &mut String) {
    result.extend(
        stretch
            .bytes()
            .map(|byte| if byte == b'\n' { '\n' } else { ' ' }),
    );
}

/// Length of the item `code` opens with: to its `;`, or to the end of its braces.
fn item_length(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// Whether `c` may be part of an identifier.
pub(super) fn in_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Lines (from 1) on which `needle` stands, not as part of a longer name.
pub(super) fn lines_with(text: &str, needle: &str) -> Vec<usize> {
    let numbered = text.lines().enumerate();
    numbered
        .filter(|(_, line)| has_word(line, needle))
        .map(|(index, _)| index + 1)
        .collect()
}

/// Whether `needle` stands in `text`, not as part of a longer name.
pub(super) fn has_word(text: &str, needle: &str) -> bool {
    let open = |edge: Option<char>, beyond: Option<char>| {
        !(edge.is_some_and(in_name) && beyond.is_some_and(in_name))
    };
    text.match_indices(needle).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + needle.len()..]);
        open(needle.chars().next(), before.chars().next_back())
            && open(needle.chars().next_back(), after.chars().next())
    })
}

/// What `rest` opens with and how many bytes of it; `before` is the character in front.
fn next(rest: &str, before: Option<char>) -> (Kind, usize) {
    if rest.starts_with("//") {
        return (Kind::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Kind::Comment, block_comment(rest));
    }
    if rest.starts_with('"') {
        return (Kind::Literal, escaped(rest, '"'));
    }
    let prefix_may_start = !before.is_some_and(|c| in_name(c) && c != 'b' && c != 'c');
    if let Some(length) = raw_string(rest).filter(|_| prefix_may_start) {
        return (Kind::Literal, length);
    }
    if let Some(length) = character(rest) {
        return (Kind::Literal, length);
    }
    (Kind::Code, rest.chars().next().map_or(0, char::len_utf8))
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(pair) = rest.as_bytes().get(at..at + 2) {
        match pair {
            b"/*" => depth += 1,
            b"*/" if depth == 1 => return at + 2,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
    }
    rest.len()
}

/// Length of a literal that opens and ends with `quote`.
fn escaped(rest: &str, quote: char) -> usize {
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        if c == '\\' {
            characters.next();
        } else if c == quote {
            return at + 1;
        }
    }
    rest.len()
}

fn raw_string(rest: &str) -> Option<usize> {
    let hashes = rest
        .strip_prefix('r')?
        .bytes()
        .take_while(|&byte| byte == b'#')
        .count();
    let body = 1 + hashes + 1;
    rest[1 + hashes..].starts_with('"').then(|| {
        let end = format!("\"{}", "#".repeat(hashes));
        rest[body..]
            .find(&end)
            .map_or(rest.len(), |at| body + at + end.len())
    })
}

/// Length of a character literal; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('\'')?;
    let first = inside.chars().next()?;
    let closed = inside[first.len_utf8()..].starts_with('\'');
    (first == '\\' || closed).then(|| escaped(rest, '\''))
}

#[cfg(test)]
mod tests {
    use super::{Kind, code, has_word, lines_with, only, product};

    #[test]
    fn literals_and_comments_are_blanked() {
        let check = |source: &str, expect: &str| assert_eq!(code(source), expect, "{source}");
        check("a // b\nc", "a     \nc");
        check("a /*/ /* b */ */ c", "a                c");
        check(r#"f("\"x", y)"#, "f(     , y)");
        check(r##"f(r#"a"b"#, y)"##, "f(        , y)");
        check("f('x', '\\'', '\"')", "f(   ,     ,    )");
        check("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)");
        check("var\"x\"", "var   ");
        check("br\"\\\"; y", "b    ; y");
        check("\"// no comment\"", "               ");
        check("\"é\"", "    ");
    }

    #[test]
    fn kinds_are_kept_on_request() {
        assert_eq!(only("a \"b\" // c", &[Kind::Literal]), "  \"b\"     ");
        assert_eq!(only("a \"b\" // c", &[Kind::Comment]), "      // c");
    }

    #[test]
    fn tests_are_no_product() {
        assert_eq!(
            product("a;\n#[cfg(test)]\nmod tests;\nb;").trim_end(),
            "a;\n            \n          \nb;"
        );
        assert!(!product("#[cfg(test)] mod t { fn f() { x } } fn g() {}").contains('x'));
        assert!(product("#[cfg(test)] mod t { fn f() { x } } fn g() {}").contains("fn g"));
    }

    #[test]
    fn words_end_where_names_do() {
        assert!(has_word("std::fs::read", "std::fs"));
        assert!(!has_word("std::fsync", "std::fs"));
        assert!(!has_word("mydbg!(x)", "dbg!"));
        assert_eq!(lines_with("a\nb a\nab", "a"), [1, 2]);
    }
}
